import type { Tensor } from '../graph/tensor.js';
import { decoding } from '../graph/trace.js';
import { arange, embedding, permute, positionsFrom, reshape, sinusoidal, slice } from '../ops/index.js';
import { type Initialization, Module, normal, Parameter } from './module.js';

/** Positions of the tokens being traced: int32 [length], or [batch, length] where rows continue a KV cache. */
export function tokenPositions(length: number): Tensor {
  const cache = decoding();
  return cache ? positionsFrom(cache.starts, length) : arange(length);
}

export interface LearnedPositionsOptions {
  /** Default: normal with deviation 0.02. */
  initialization?: Initialization;
  /** Rows of the table before that of the first token; BART's have 2. Default 0. */
  offset?: number;
}

/** Learned positions (GPT-2): a vector for each of maxPositionEmbeddings places. */
export class LearnedPositions extends Module {
  readonly weight: Parameter;
  private readonly offset: number;

  constructor(maxPositionEmbeddings: number, hiddenSize: number, options: LearnedPositionsOptions = {}) {
    super();
    const { initialization = normal(0.02), offset = 0 } = options;
    this.offset = offset;
    this.weight = new Parameter([maxPositionEmbeddings + offset, hiddenSize], initialization);
  }

  /**
   * [length, hiddenSize], or [batch, length, hiddenSize] while decoding and for `positionIds`, int32 [batch, length], which stand
   * for 0, 1, 2, ...
   */
  forward(length: number, positionIds?: Tensor): Tensor {
    const { offset } = this;
    if (positionIds) return embedding(positionIds, slice(this.weight, 0, offset, this.weight.shape[0]));
    const positions = slice(tokenPositions(length + offset), -1, offset, length + offset);
    return embedding(positions, this.weight);
  }
}

export interface SinusoidalPositionsOptions {
  /** All sines, then all cosines, as Marian has them, instead of one beside the other as in the paper. Default false. */
  halves?: boolean;
}

/** Sinusoidal positions (Vaswani et al. 2017, section 3.5): no parameters. */
export class SinusoidalPositions extends Module {
  constructor(
    readonly hiddenSize: number,
    private readonly options: SinusoidalPositionsOptions = {},
  ) {
    super();
  }

  /** As of `LearnedPositions`. */
  forward(length: number, positionIds?: Tensor): Tensor {
    const table = sinusoidal(positionIds ?? tokenPositions(length), this.hiddenSize);
    if (!this.options.halves) return table;
    const leading = table.shape.slice(0, -1);
    const axes = leading.map((_, axis) => axis);
    const pairs = reshape(table, [...leading, this.hiddenSize / 2, 2]);
    return reshape(permute(pairs, [...axes, table.rank, table.rank - 1]), table.shape);
  }
}
