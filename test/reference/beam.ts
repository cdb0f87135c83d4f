import { type Definitions, floats, integers } from './array.js';

export const beam: Definitions = {
  beam_candidates: ({ inputs: [logits, scores], attributes }) => {
    const [beams, groups, vocabSize] = logits!.shape;
    const wanted = attributes.candidates as number;
    const score = floats([groups, wanted]);
    const [token, parent] = [integers([groups, wanted]), integers([groups, wanted])];
    for (let group = 0; group < groups; group++) {
      const all: { score: number; token: number; beam: number }[] = [];
      for (let k = 0; k < beams; k++) {
        const row = k * groups + group;
        const x = Array.from(logits!.data.subarray(row * vocabSize, (row + 1) * vocabSize));
        const greatest = x.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
        const normaliser = greatest + Math.log(x.reduce((sum, value) => sum + Math.exp(value - greatest), 0));
        x.forEach((value, id) => {
          const total = scores!.data[row] + value - normaliser;
          if (total > Number.NEGATIVE_INFINITY) all.push({ score: total, token: id, beam: k });
        });
      }
      all.sort((a, b) => b.score - a.score || a.beam - b.beam || a.token - b.token);
      for (let place = 0; place < wanted; place++) {
        const best = all[place] ?? { score: Number.NEGATIVE_INFINITY, token: 0, beam: 0 };
        score.data[group * wanted + place] = best.score;
        token.data[group * wanted + place] = best.token;
        parent.data[group * wanted + place] = best.beam;
      }
    }
    return [score, token, parent];
  },
};
