import test from 'ava';
import { ConfigError } from '#src/errors.js';
import { BeamGroup, type BeamSettings, beamSettings } from '#src/generate/beams.js';

const end = 9;
const group = (settings: Partial<BeamSettings>) =>
  new BeamGroup(
    beamSettings(
      { numBeams: 2, numReturnSequences: 2, endToken: end, ...settings },
      settings.maxNewTokens ?? 10,
    ),
  );
const candidate = (score: number, token: number, beam = 0) => ({ score, token, beam });

test('beams go on from the best candidates and say where they came from', (t) => {
  const beams = group({});
  t.deepEqual(
    beams.advance([candidate(-1, 1), candidate(-2, 2), candidate(-3, 3), candidate(-4, 4)]),
    [0, 0],
  );
  t.deepEqual(beams.advance([candidate(-2, 5, 1), candidate(-2.5, 6, 1), candidate(-3, 7, 0)]), [1, 1]);
  t.deepEqual(
    beams.beams.map(({ tokens }) => tokens),
    [
      [2, 5],
      [2, 6],
    ],
  );
});

test('an ended hypothesis counts only among the best, and its length counts its end', (t) => {
  const beams = group({ lengthPenalty: 1 });
  beams.advance([candidate(-1, 1), candidate(-2, end), candidate(-3, end), candidate(-4, 4)]);
  t.deepEqual(
    beams.beams.map(({ tokens }) => tokens),
    [[1], [4]],
  );
  beams.advance([candidate(-1.5, end, 0), candidate(-5, 2, 0)]);
  t.true(beams.done); // two have ended, and -5 / 2 is worse than both
  t.deepEqual(beams.best(), [
    { tokens: [1], logProbability: -1.5, score: -0.75 },
    { tokens: [], logProbability: -2, score: -2 },
  ]);
});

test('when to stop: at once, when nothing looks better, or when nothing can become better', (t) => {
  const run = (earlyStopping: BeamSettings['earlyStopping']) => {
    const beams = group({ earlyStopping, lengthPenalty: 1 });
    beams.advance([candidate(-1, 1), candidate(-1.2, 2)]);
    beams.advance([
      candidate(-2, end, 0),
      candidate(-2.1, end, 1),
      candidate(-2.2, 3, 0),
      candidate(-2.3, 3, 1),
    ]);
    return beams;
  };
  t.true(run(true).done);
  t.true(run(false).done); // -2.2 / 2 is below -2.1 / 2
  t.false(run('never').done); // at length 10 it would score -0.22
});

test('beams that have not ended take part when the length is reached', (t) => {
  const beams = group({ maxNewTokens: 1, lengthPenalty: 0 });
  beams.advance([candidate(-1, 1), candidate(-2, end), candidate(-3, 3)]);
  t.true(beams.done);
  t.deepEqual(
    beams.best().map(({ tokens, score }) => [tokens, score]),
    [
      [[1], -1],
      [[], -2],
    ],
  );
});

test('settings that cannot be', (t) => {
  t.throws(() => beamSettings({ numBeams: 0 }, 1), { instanceOf: ConfigError, message: /numBeams/ });
  t.throws(() => beamSettings({ numBeams: 2, numReturnSequences: 3 }, 1), {
    message: /at most|to numBeams 2/,
  });
  t.throws(() => beamSettings({ lengthPenalty: Number.NaN }, 1), { message: /lengthPenalty/ });
});
