import { defineOp } from '../graph/op.js';
import type { Operand, Tensor } from '../graph/tensor.js';

/** Centres that share their negatives, which are as many (native/skip_gram.h has the same numbers). */
export const skipGramGroup = 16;
/** Centres whose gradients are taken at the same weights. */
export const skipGramBlock = 32;
/** The widest window that kernels take. */
export const maxSkipGramWindow = 256;

const aligned = (count: number) => Math.ceil(count / 16) * 16;

/** Bytes of scratch: words that are kept with their reach, results of groups, and the gradients of one block's rows. */
function workspaceOf(length: number, window: number, columns: number): number {
  const rows = skipGramBlock + (skipGramBlock / skipGramGroup) * 2 * (skipGramGroup + window);
  const groups = Math.ceil(length / skipGramGroup);
  const segments = Math.ceil(length / 1024) + 1;
  const counts = 2 * aligned(length) + 2 * aligned(groups) + aligned(segments) + aligned(rows);
  return 4 * (counts + rows * aligned(columns));
}

/**
 * One pass of skip-gram with negative sampling over a stretch of text (Mikolov et al. 2013, arXiv:1310.4546, equation 4),
 * which updates vectors in place and touches only the rows of words it meets:
 *
 *     v_c += rate sum_o [(1 - s(u_o v_c)) u_o] - rate sum_n [w s(u_n v_c) u_n]
 *     u_o += rate (1 - s(u_o v_c)) v_c;  u_n -= rate w s(u_n v_c) v_c
 *
 * A word that occurs too often is passed over with probability 1 - keep (section 2.3); of those left, each is the centre c of
 * the words o within a reach drawn from 1..window. Groups of 16 centres share 16 negatives n, drawn by an alias table
 * (Walker 1977), with weight w = negatives * pairs of the centre / 16, which leaves the expected gradient as it is (Ji et al.
 * 2016, arXiv:1604.04661, share them within a window). Gradients of a block of 32 centres are taken at the same weights and
 * then added row by row, in the order of the text, so that results depend on no number of threads.
 *
 * Drawn by Philox at {0, position, step, site}: whether a word is kept, its reach; at {draw, group, step, site + 1}: negatives.
 */
const skipGramOp = defineOp('skip_gram', {
  inputs: {
    centres: 'V C',
    contexts: 'V C',
    ids: 'N i32',
    keep: 'V',
    alias_probability: 'V',
    alias: 'V i32',
  },
  outputs: { loss_sum: '1', pair_count: '1' },
  attributes: { window: 'i32', negatives: 'i32' },
  writes: ['centres', 'contexts'],
  workspace: ({ inputs: [centres, , ids], attributes: { window } }) =>
    workspaceOf(ids!.shape[0], window as number, centres!.shape[1]),
  // Per centre: window + 1 contexts on average and 16 negatives, each a product and two sums of C multiply-adds.
  cost: ({ inputs: [centres, , ids], attributes: { window } }) => ({
    flops: 6 * ids!.shape[0] * centres!.shape[1] * ((window as number) + 1 + skipGramGroup),
  }),
});

export interface SkipGramOptions {
  /** Vectors of words as centres and as contexts, float32 [V, C]: places of an arena, changed in place. */
  readonly centres: Operand;
  readonly contexts: Operand;
  /** int32 [N]: the words of a stretch of text; a negative number is passed over. */
  readonly ids: Operand;
  /** float32 [V]: probability of keeping an occurrence; 1 and more keeps all. */
  readonly keep: Operand;
  /** Walker's table of the words' distribution as negatives: word i with this probability, else alias[i]. */
  readonly aliasProbability: Operand;
  readonly alias: Operand;
  /** The farthest a context may be from its centre, 1 to 256 words. */
  readonly window: number;
  /** Negatives that a pair counts against. */
  readonly negatives: number;
}

/** See `skipGramOp`. Sums the loss over pairs, in nats, before their update; `learningRate`, `seed` and `step` are scalars of the run. */
export function skipGramUpdate(options: SkipGramOptions): { lossSum: Tensor; pairCount: Tensor } {
  const { centres, contexts, ids, keep, aliasProbability, alias, window, negatives } = options;
  const operands = [centres, contexts, ids, keep, aliasProbability, alias];
  const [lossSum, pairCount] = skipGramOp(operands, { window, negatives });
  return { lossSum, pairCount };
}
