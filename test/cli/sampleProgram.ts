// A program with one command for each way in which a command can end.
import { setTimeout as delay } from 'node:timers/promises';
import * as v from 'valibot';
import { defineCommand, main } from '#src/cli/commandLine.js';
import { DataError } from '#src/errors.js';
import { choice, onOff, positiveInteger, text } from '#src/models/settingFields.js';

const schema = v.strictObject({
  data: v.optional(text('Corpus'), 'sotu'),
  rows: v.optional(positiveInteger('Rows of a batch', { unit: 'rows' }), 4),
  clean: v.optional(choice(['none', 'text8'], 'Cleaning')),
  quick: v.optional(onOff('Skip the slow part'), false),
});

const command = (name: string, run: Parameters<typeof defineCommand<typeof schema>>[0]['run']) =>
  defineCommand({
    name,
    summary: `Shows ${name}`,
    example: `heddle ${name} --rows 2`,
    schema,
    positionals: ['data'],
    run,
  });

const wait = async (signal: AbortSignal) => {
  process.stdout.write('ready\n');
  await delay(20_000, undefined, { signal });
};

process.exitCode = await main(process.argv.slice(2), [
  command('print', async (settings, { given, stdout }) => {
    stdout.write(`${JSON.stringify({ settings, given: [...given] })}\n`);
  }),
  command('refuse', async () => {
    throw new DataError('the corpus\n  is empty; give another file');
  }),
  command('break', async () => {
    (undefined as unknown as string).trim();
  }),
  command('reject', async () => {
    void Promise.reject(new Error('nobody waits'));
    await delay(1000);
  }),
  command('wait', (_, { signal }) => wait(signal)),
  command('finish', async (_, { signal, stdout }) => {
    await wait(signal).catch(() => stdout.write('saved\n'));
  }),
  command('fail-late', async (_, { signal }) => {
    await wait(signal).catch(() => {
      throw new DataError('cannot save');
    });
  }),
  command('stubborn', async () => {
    process.stdout.write('ready\n');
    await delay(20_000);
  }),
  command('chatter', async (_, { signal, stdout }) => {
    while (!signal.aborted) {
      stdout.write(`${'x'.repeat(10_000)}\n`);
      await delay(1);
    }
  }),
]);
