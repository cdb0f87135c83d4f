import test from 'ava';
import { describeSettings, flagOf, groupsOf, settingsOf } from '#src/cli/settings.js';
import { trainSettingsSchema } from '#src/train/settings.js';

test('every setting of a training run has a flag, a description and a default of its own or from others', (t) => {
  const settings = settingsOf(trainSettingsSchema);
  t.true(settings.length > 50);
  t.deepEqual(
    Object.values(groupsOf(trainSettingsSchema)).flat(),
    settings.map(({ name }) => name),
  );
  t.is(new Set(settings.map(({ flag }) => flag)).size, settings.length);
  for (const { name, flag, description, defaultValue, defaultFrom } of settings) {
    t.is(flag, flagOf(name));
    t.regex(flag, /^--[a-z0-9]+(-[a-z0-9]+)*$/);
    t.regex(description, /^[A-Z].*[^.]$/, name);
    t.true((defaultValue === undefined) !== (defaultFrom === undefined), name);
  }
});

test('help fits the width and states defaults once', (t) => {
  for (const width of [60, 80, 120]) {
    const help = describeSettings(trainSettingsSchema, width);
    const long = help
      .split('\n')
      .filter((line) => line.length > Math.max(width, 62) && !line.trimStart().startsWith('--'));
    t.deepEqual(long, []);
  }
  const help = describeSettings(trainSettingsSchema, 100);
  t.regex(help, /\n {2}--batch-size <number> {7,}Rows of a micro-step \(rows; default 12\)\n/);
  t.regex(help, /\n {2}--split n,n,\.\.\. {7,}Parts of the corpus.*\(default\s+0\.9,0\.05,0\.05\)\n/s);
  t.regex(help, /\n {2}--\[no-\]bias {7,}/);
  t.regex(help, /\n {2}--resume {7,}Go on from the newest checkpoint in the folder of the run\n/);
});
