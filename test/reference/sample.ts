import { philox4x32, seedKey } from '#src/random/philox.js';
import { copyOf, type Definitions, floats, integers } from './array.js';

/** In place of a dropout's number in the Philox counter. */
const samplingSite = 0xffffff00;

export const sample: Definitions = {
  sample: ({ inputs: [logits], scalars }) => {
    const [rows, vocabSize] = logits!.shape;
    const { temperature, topK, topP, minP, typicalP } = scalars;
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
      kept = kept.filter((id) => weight(id) >= minP);
      if (typicalP < 1) kept = typicalOf(kept, weight, typicalP);

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
  penalize_repetition: ({ inputs: [logits, history, lengths], scalars }) => {
    const [rows, vocabSize] = logits!.shape;
    const { repetitionPenalty, noRepeatNgramSize: size } = scalars;
    const y = copyOf(logits!);
    for (let row = 0; row < rows; row++) {
      const capacity = history!.shape[1];
      const said = Array.from(history!.data.subarray(row * capacity, row * capacity + lengths!.data[row]));
      for (let id = 0; id < vocabSize; id++) {
        if (!said.includes(id)) continue;
        const index = row * vocabSize + id;
        const logit = logits!.data[index];
        y.data[index] = logit > 0 ? logit / repetitionPenalty : logit * repetitionPenalty;
        const repeated = [...said.slice(Math.max(0, said.length - size + 1)), id].join();
        const isThere = said.some(
          (_, end) => end + 1 >= size && said.slice(end + 1 - size, end + 1).join() === repeated,
        );
        if (size > 0 && said.length >= size - 1 && isThere) y.data[index] = Number.NEGATIVE_INFINITY;
      }
    }
    return [y];
  },
};

/** Of `kept`, the fewest whose surprisal is nearest to the entropy and whose share reaches `share`. */
function typicalOf(kept: readonly number[], weight: (id: number) => number, share: number): number[] {
  const total = kept.reduce((sum, id) => sum + weight(id), 0);
  const surprisal = (id: number) => -Math.log(weight(id) / total);
  const entropy = kept.reduce((sum, id) => sum + (weight(id) / total) * surprisal(id), 0);
  const distance = (id: number) => Math.abs(surprisal(id) - entropy);
  const ranked = [...kept].sort((a, b) => distance(a) - distance(b) || a - b);
  let reached = 0;
  const last = ranked.findIndex((id) => {
    reached += weight(id);
    return reached >= share * total;
  });
  return ranked.slice(0, last + 1);
}
