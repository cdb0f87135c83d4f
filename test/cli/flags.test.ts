import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { settingsFrom } from '#src/cli/flags.js';
import { ConfigError } from '#src/errors.js';
import { trainSettingsSchema } from '#src/train/settings.js';

const train = async (...args: string[]) => (await settingsFrom(args, trainSettingsSchema))!;

async function file(
  t: { teardown(fn: () => Promise<void>): void },
  name: string,
  text: string,
): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'heddle-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, name), text);
  return join(folder, name);
}

test('reads numbers, lists, switches and choices', async (t) => {
  const { settings, given } = await train(
    ...[
      '--learning-rate',
      '1e-3',
      '--beta2=.99',
      '--split',
      '0.9,0.1',
      '--resume',
      '--no-tie-word-embeddings',
    ],
    ...[
      '--schedule',
      'inverse-square-root',
      '--bias=false',
      '--json=true',
      '--device',
      'cuda:1',
      '--batch-size',
      '+12',
    ],
  );
  t.like(settings, {
    learningRate: 1e-3,
    beta2: 0.99,
    split: [0.9, 0.1],
    resume: true,
    tieWordEmbeddings: false,
  });
  t.like(settings, {
    schedule: 'inverse-square-root',
    bias: false,
    json: true,
    device: 'cuda:1',
    batchSize: 12,
  });
  t.is(given.size, 10);
  t.is(settings.maxSteps, 2000);
  t.is(await settingsFrom(['--help'], trainSettingsSchema), undefined);
});

test('flags come before the file, the file before defaults', async (t) => {
  const yaml = await file(
    t,
    'run.yaml',
    'learningRate: 1e-4 # low\nbatchSize: 3\nsplit: [0.8, 0.2]\nresume: true\n',
  );
  const { settings, given } = await train('--config', yaml, '--batch-size', '5', '--no-resume');
  t.like(settings, { learningRate: 1e-4, batchSize: 5, split: [0.8, 0.2], resume: false, beta1: 0.9 });
  t.deepEqual([...given].sort(), ['batchSize', 'learningRate', 'resume', 'split']);
  const json = await file(t, 'run.json', '{"batchSize": 7}');
  t.is((await train(`--config=${json}`)).settings.batchSize, 7);
  t.is((await train('--config', await file(t, 'empty.yml', '# nothing\n'))).settings.batchSize, 12);
});

test('says what was expected and what came', async (t) => {
  const number = 'expected a whole number of at least 1, got';
  const cases: [string[], string][] = [
    [['--batch-size', '0'], `--batch-size: ${number} 0`],
    [['--batch-size', '1.5'], `--batch-size: ${number} 1.5`],
    [['--batch-size', 'many'], `--batch-size: ${number} "many"`],
    [['--batch-size', '0x10'], `--batch-size: ${number} "0x10"`],
    [['--batch-size', '1e999'], `--batch-size: ${number} Infinity`],
    [['--batch-size='], `--batch-size: ${number} ""`],
    [['--batch-size', '-3'], `--batch-size: ${number} -3`],
    [['--batch-size'], '--batch-size needs a value: a whole number of at least 1'],
    [['--batch-size', '--json'], '--batch-size needs a value: a whole number of at least 1'],
    [['--learning-rate', '0'], '--learning-rate: expected a number above 0, got 0'],
    [['--dropout', '1'], '--dropout: expected a number of at least 0 and below 1, got 1'],
    [['--model-type', 'gpt3'], '--model-type: expected one of gpt2, llama, bert, bart, marian, got "gpt3"'],
    [['--resume=yes'], '--resume: expected true or false, got "yes"'],
    [
      ['--split', '0.9,0.2'],
      '--split: expected 2 or 3 numbers of at least 0 that add up to 1, such as 0.9,0.05,0.05, got 0.9,0.2',
    ],
    [
      ['--split', '1,x'],
      '--split: expected 2 or 3 numbers of at least 0 that add up to 1, such as 0.9,0.05,0.05, got 1,x',
    ],
    [['--device', 'gpu'], '--device: expected auto, cpu, cuda or cuda:N, got "gpu"'],
    [['--out', ''], '--out: expected a text that is not empty, got ""'],
    [['--hiden-size', '4'], 'unknown flag --hiden-size; did you mean --hidden-size?'],
    [['--hiddenSize', '4'], 'unknown flag --hiddenSize; did you mean --hidden-size?'],
    [['--no-resum'], 'unknown flag --no-resum; did you mean --no-resume?'],
    [['--no-batch-size'], 'unknown flag --no-batch-size; did you mean --batch-size?'],
    [['-x'], 'unknown flag -x; see --help'],
    [['--zzzzzzzzzz'], 'unknown flag --zzzzzzzzzz; see --help'],
    [['corpus.txt'], 'unexpected word "corpus.txt"; settings are given as --flag value'],
    [['--config', 'a.toml'], '--config: expected a file that ends in .yaml, .yml or .json, got a.toml'],
    [
      ['--config', '/none/a.yaml'],
      '--config /none/a.yaml: there is no such file; give the path of a .yaml or .json file',
    ],
  ];
  for (const [args, message] of cases) {
    await t.throwsAsync(train(...args), { instanceOf: ConfigError, message }, args.join(' '));
  }
});

test('says what is wrong with a file', async (t) => {
  const cases: [string, string, RegExp][] = [
    ['a.yaml', 'batchSise: 3', /: unknown setting batchSise; did you mean batchSize\?$/],
    ['a.yaml', 'hidden_size: 3', /: unknown setting hidden_size; did you mean hiddenSize\?$/],
    ['a.json', '{"__proto__": {}}', /: unknown setting __proto__; see --help/],
    ['a.yaml', 'batchSize: "3"', /a\.yaml: batchSize: expected a whole number of at least 1, got "3"$/],
    ['a.yaml', 'batchSize:', /a\.yaml: batchSize: expected a whole number of at least 1, got null$/],
    ['a.yaml', 'split: 0.5', /a\.yaml: split: expected 2 or 3 numbers.*, got 0\.5$/],
    ['a.yaml', 'batchSize: 1\nbatchSize: 2', /is not YAML: Map keys must be unique/],
    ['a.yaml', 'a: [', /is not YAML: /],
    ['a.json', '{"batchSize": }', /is not JSON: /],
    ['a.yaml', '- 1', /expected settings as name: value, got 1$/],
    ['a.json', '3', /expected settings as name: value, got 3$/],
    [
      'a.yaml',
      `a: &a [x]\nb: &b [${'*a,'.repeat(60)}]\nc: [${'*b,'.repeat(60)}]`,
      /is not YAML: Excessive alias count/,
    ],
    ['a.yaml', `# ${'x'.repeat(2 ** 20)}`, /more than a configuration needs/],
  ];
  for (const [name, content, message] of cases) {
    await t.throwsAsync(
      train('--config', await file(t, name, content)),
      { instanceOf: ConfigError, message },
      content.slice(0, 50),
    );
  }
});

test('no words and no file lead to anything but settings or a ConfigError', async (t) => {
  const word = fc.oneof(
    fc.constantFrom(
      '--batch-size',
      '--resume',
      '--no-resume',
      '--split',
      '--',
      '-',
      '--device',
      '--no-',
      '=',
      '--__proto__=1',
    ),
    fc.string(),
  );
  const isConfigError = (error: unknown) => {
    if (!(error instanceof ConfigError)) throw error;
  };
  await fc.assert(
    fc.asyncProperty(fc.array(word), (words) => train(...words).then(() => {}, isConfigError)),
    { numRuns: 2000 },
  );
  const path = await file(t, 'a.yaml', '');
  const content = fc.oneof(
    fc.string(),
    fc.json(),
    fc.constantFrom('!!js/function x', '<<: *a', '? {a: b}\n: c', '%YAML 9.9\n---\n'),
  );
  const property = fc.asyncProperty(content, async (text) => {
    await writeFile(path, text);
    await train('--config', path).catch(isConfigError);
  });
  await fc.assert(property, { numRuns: 500 });
  t.pass();
});
