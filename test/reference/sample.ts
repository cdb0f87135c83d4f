import { philox4x32, seedKey } from '#src/random/philox.js';
import { type Definitions, floats, integers } from './array.js';

/** In place of a dropout's number in the Philox counter. */
const samplingSite = 0xffffff00;

export const sample: Definitions = {
  sample: ({ inputs: [logits], scalars }) => {
    const [rows, vocabSize] = logits!.shape;
    const { temperature, topK, topP } = scalars;
    const [token, logProbability] = [integers([rows]), floats([rows])];
    for (let row = 0; row < rows; row++) {
      const x = Array.from(logits!.data.subarray(row * vocabSize, (row + 1) * vocabSize));
      // Most probable first; of equals the lowest id.
      const ranked = x.map((_, id) => id).sort((a, b) => x[b] - x[a] || a - b);
      const greatest = x[ranked[0]];
      const weight = (id: number) => Math.exp((x[id] - greatest) / temperature);
      let kept = ranked.slice(0, topK > 0 ? topK : vocabSize);
      const total = kept.reduce((sum, id) => sum + weight(id), 0);
      let reached = 0;
      const needed = kept.findIndex((id) => {
        reached += weight(id);
        return reached >= topP * total;
      });
      if (topP < 1 && needed >= 0) kept = kept.slice(0, needed + 1);

      const [high, low] = philox4x32(
        [(row + scalars.rowOffset) >>> 0, 0, scalars.step, (samplingSite | scalars.microStep) >>> 0],
        seedKey(scalars.seed),
      );
      const random = ((high >>> 5) * 2 ** 26 + (low >>> 6)) * 2 ** -53;
      const drawn = random * kept.reduce((sum, id) => sum + weight(id), 0);
      let passed = 0;
      const chosen = kept
        .sort((a, b) => a - b)
        .find((id) => {
          passed += weight(id);
          return passed > drawn;
        });
      token.data[row] = temperature === 0 ? ranked[0] : chosen!;
      const partition = x.reduce((sum, value) => sum + Math.exp(value - greatest), 0);
      logProbability.data[row] = x[token.data[row]] - greatest - Math.log(partition);
    }
    return [token, logProbability];
  },
};
