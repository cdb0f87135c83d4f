import type { ArenaName, Node, Slot } from '../graph/graph.js';
import type { Tensor } from '../graph/tensor.js';
import { endOf, overlap, slotBelow } from './schedule.js';

/** Memory that is used from one instruction to another, both included. */
export interface Life {
  readonly bytes: number;
  readonly first: number;
  readonly last: number;
}

/** Where a block lies: bytes within an arena. */
export interface Address {
  readonly arena: ArenaName;
  readonly offset: number;
}

interface Placed extends Life {
  readonly offset: number;
}

export const alignment = 64;
export const align = (bytes: number, to = alignment): number => Math.ceil(bytes / to) * to;

const everything: Placed = {
  offset: 0,
  bytes: Number.POSITIVE_INFINITY,
  first: 0,
  last: Number.POSITIVE_INFINITY,
};

/** An arena whose slots programs write anew: until then their memory is free for blocks of the same program. */
const lending = 'gradients';

/**
 * Places blocks, the largest first, each at the lowest offset that is free for its whole life (Pisarchyk & Lee 2020, arXiv:2001.03288): in
 * what is lent where it fits, else in the activations arena, whose peak is returned.
 */
export function placeBlocks<Key>(
  lives: ReadonlyMap<Key, Life>,
  taken: readonly Placed[] = [everything],
): { addresses: ReadonlyMap<Key, Address>; peak: number } {
  const addresses = new Map<Key, Address>();
  const spaces: { arena: ArenaName; placed: Placed[] }[] = [
    { arena: lending, placed: [...taken] },
    { arena: 'activations', placed: [] },
  ];
  let peak = 0;
  const bySize = [...lives].sort(([, a], [, b]) => b.bytes - a.bytes || a.first - b.first);
  for (const [key, life] of bySize) {
    for (const { arena, placed } of spaces) {
      const offset = lowestOffset(life, placed);
      if (offset === Number.POSITIVE_INFINITY) continue;
      insert(placed, { ...life, offset });
      addresses.set(key, { arena, offset });
      if (arena === 'activations') peak = Math.max(peak, offset + life.bytes);
      break;
    }
  }
  return { addresses, peak };
}

function lowestOffset(life: Life, placed: readonly Placed[]): number {
  let offset = 0;
  for (const other of placed) {
    if (other.last < life.first || life.last < other.first) continue;
    if (other.offset - offset >= life.bytes) break;
    offset = Math.max(offset, other.offset + other.bytes);
  }
  return offset;
}

/** Keeps blocks in the order of their offsets. */
function insert(placed: Placed[], block: Placed): void {
  const at = placed.findIndex((other) => other.offset > block.offset);
  placed.splice(at < 0 ? placed.length : at, 0, block);
}

/**
 * What the lending arena has taken, as blocks: each slot from the instruction that first writes it on, and all else always. A slot lends nothing
 * if it is read before it is written, as where gradients accumulate; what no store covers keeps its value from run to run.
 */
export function takenOfLent(
  order: readonly Node[],
  slotAround: (root: Tensor) => Slot | undefined,
): Placed[] {
  const written = new Map<Slot, number>();
  order.forEach(({ outputs }, time) => {
    for (const output of outputs) {
      const slot = slotAround(output);
      if (slot?.arena === lending && !written.has(slot)) written.set(slot, time);
    }
  });
  order.forEach(({ inputs }, time) => {
    for (const input of inputs) {
      const read = input && slotBelow(input);
      if (read?.arena !== lending) continue;
      for (const [slot, first] of written) if (time <= first && overlap(read, slot)) written.delete(slot);
    }
  });
  const taken: Placed[] = [];
  const take = (from: number, to: number, first: number) => {
    const offset = Math.floor(from / alignment) * alignment;
    if (to > from) taken.push({ offset, bytes: align(to) - offset, first, last: Number.POSITIVE_INFINITY });
  };
  let end = 0;
  for (const [slot, first] of [...written].sort(([a], [b]) => a.offset - b.offset)) {
    take(end, slot.offset, 0);
    take(slot.offset, endOf(slot), first);
    end = Math.max(end, endOf(slot));
  }
  take(end, Number.POSITIVE_INFINITY, 0);
  return taken;
}
