import type { Node, Slot } from '../graph/graph.js';
import type { Tensor } from '../graph/tensor.js';
import { byteSizeOf } from '../shape/bytes.js';
import { dtypeBytes } from '../shape/dtype.js';
import { contiguousLayout, type Layout, satisfies } from '../shape/layout.js';
import { type Address, align, type Life, placeBlocks, takenOfLent } from './blocks.js';
import { locate, type Place } from './layout.js';
import { pitchedLayout, pitchesOf } from './pitch.js';
import { slotBelow } from './schedule.js';

export interface MemoryPlan {
  /** Where the elements of a tensor lie, by its operand in an instruction. */
  readonly operand: (tensor: Tensor) => { address: Address; layout: Layout };
  /** Peak of the activations arena, in bytes. */
  readonly activationBytes: number;
  /** Size of the workspace arena, in bytes. */
  readonly workspaceBytes: number;
}

const isSlot = (within: Slot | Tensor): within is Slot => 'arena' in within;

/**
 * Gives every value of a scheduled program its memory. Roots live from the instruction that writes them to the last that
 * reads them; an output takes over the memory of a dying input where its op allows (`reuse`); blocks are placed largest
 * first at the lowest offset that is free for their whole life.
 *
 * With `keep` nothing takes over anything and every value keeps its block to the end, for those who look afterwards.
 */
export function planMemory(
  order: readonly Node[],
  places: ReadonlyMap<Tensor, Place>,
  inputAddress: (tensor: Tensor) => Address,
  keep = false,
): MemoryPlan {
  const owners = new Owners(order, places, keep);
  const lives = new Map<Tensor, Life>();
  for (const owner of owners.all()) {
    const life = keep ? { first: 0, last: order.length } : owners.life(owner);
    lives.set(owner, { ...life, bytes: align(owners.bytes(owner)) });
  }
  const taken = takenOfLent(order, (root) => owners.slotAround(root));
  const { addresses, peak: activationBytes } = placeBlocks(lives, keep ? undefined : taken);
  const workspaceBytes = Math.max(0, ...order.map((node) => align(node.op.workspace?.(node) ?? 0)));

  const addressOf = (root: Tensor): { address: Address; layout: Layout } => {
    if (root.node.slot) return { address: root.node.slot, layout: contiguousLayout(root.shape) };
    if (root.node.input) return { address: inputAddress(root), layout: contiguousLayout(root.shape) };
    const place = owners.placeOf(root);
    if (!place) {
      return { address: addresses.get(owners.ownerOf(root))!, layout: owners.layout(root) };
    }
    if (isSlot(place.within)) return { address: place.within, layout: place.layout };
    const parent = addressOf(place.within);
    return {
      address: parent.address,
      layout: { ...place.layout, offset: place.layout.offset + parent.layout.offset },
    };
  };
  const operand = (tensor: Tensor) => {
    const { root } = locate(tensor)!;
    const { address, layout } = addressOf(root);
    const through = locateWithin(tensor, root, { offset: 0, strides: layout.strides });
    const offset = address.offset + layout.offset * dtypeBytes(tensor.dtype);
    return { address: { arena: address.arena, offset }, layout: through };
  };
  return { operand, activationBytes, workspaceBytes };
}

/** The layout of a view when its root lies at `layout`. */
function locateWithin(tensor: Tensor, root: Tensor, layout: Layout): Layout {
  if (tensor === root) return layout;
  const { node } = tensor;
  const input = node.inputs[0]!;
  const below = locateWithin(input, root, layout);
  const found = node.op.view!(below, input.shape, tensor.shape, node.attributes, tensor.index);
  if (!found) throw new Error(`internal: ${node.op.name} became inexpressible by strides`);
  return found;
}

/** Which roots share memory, and how long it is needed. */
class Owners {
  private readonly owner = new Map<Tensor, Tensor>();
  private readonly firsts = new Map<Tensor, number>();
  private readonly lasts = new Map<Tensor, number>();
  private readonly places: Map<Tensor, Place>;
  private readonly pitches: ReadonlyMap<Tensor, number>;

  constructor(
    private readonly order: readonly Node[],
    places: ReadonlyMap<Tensor, Place>,
    keep: boolean,
  ) {
    this.places = new Map(places);
    this.pitches = pitchesOf(order, places);
    order.forEach((node, time) => {
      for (const input of node.inputs) if (input) this.read(locate(input)!.root, time);
      for (const output of node.outputs) this.write(output, time);
    });
    for (let time = order.length - 1; time >= 0 && !keep; time--) this.shareWithInputs(order[time], time);
  }

  /** Reading a concatenation reads its parts, and a part belongs to its concatenation. */
  private read(root: Tensor, time: number): void {
    if (root.node.slot || root.node.input) return;
    this.lasts.set(root, Math.max(time, this.lasts.get(root) ?? -1));
    this.forParent(root, (parent) => this.read(parent, time));
  }

  private write(root: Tensor, time: number): void {
    this.firsts.set(root, Math.min(time, this.firsts.get(root) ?? Number.POSITIVE_INFINITY));
    this.lasts.set(root, Math.max(time, this.lasts.get(root) ?? -1));
    this.forParent(root, (parent) => this.write(parent, time));
  }

  private forParent(root: Tensor, visit: (parent: Tensor) => void): void {
    const place = this.places.get(root);
    if (place && !isSlot(place.within)) visit(place.within);
  }

  private shareWithInputs(node: Node, time: number): void {
    const taken = new Set<Tensor>();
    for (const [outputName, inputNames] of Object.entries(node.op.reuse ?? {})) {
      const index = node.op.outputSpecs.findIndex(({ name }) => name === outputName);
      const output = node.outputs[index];
      if (!this.isRead(output)) continue;
      for (const name of inputNames) {
        const input = node.inputs[node.op.inputSpecs.findIndex((spec) => spec.name === name)];
        const root = input && locate(input)!.root;
        if (!root || taken.has(root) || !this.canTakeOver(node, output, input, root, inputNames, time))
          continue;
        taken.add(root);
        const place = this.places.get(output);
        if (place) {
          // The root may have another shape: the place is contiguous, but its strides are those of the output.
          const { strides } = contiguousLayout(root.shape);
          this.places.set(root, { within: place.within, layout: { offset: place.layout.offset, strides } });
        } else {
          this.owner.set(output, root);
        }
        break;
      }
    }
  }

  private canTakeOver(
    node: Node,
    output: Tensor,
    input: Tensor,
    root: Tensor,
    names: readonly string[],
    time: number,
  ): boolean {
    if (root.node.slot || root.node.input || this.places.has(root) || this.lasts.get(root) !== time)
      return false;
    if (root.node.op.name === 'concat' || byteSizeOf(root) !== byteSizeOf(output)) return false;
    if (this.bytes(root) !== this.bytes(output)) return false; // rows lie equally far apart in both
    const { layout } = locate(input)!;
    if (!satisfies(layout, input.shape, 'contiguous')) return false;
    // The input's memory may not be an operand of this instruction in any other role.
    const onlyInRole = node.inputs.every(
      (other, index) =>
        !other || locate(other)!.root !== root || names.includes(node.op.inputSpecs[index].name),
    );
    if (!onlyInRole) return false;
    const place = this.places.get(output);
    return !place || this.canMoveInto(place, root, output, time);
  }

  /** A dying input may be written into the output's slot from the start if nobody needs the slot in between. */
  private canMoveInto(place: Place, root: Tensor, output: Tensor, time: number): boolean {
    if (!isSlot(place.within) || !satisfies(place.layout, output.shape, 'contiguous')) return false;
    const { within: slot } = place;
    const born = this.firsts.get(root)!;
    for (let other = born; other <= time; other++) {
      for (const read of this.order[other].inputs) {
        const source = read && slotBelow(read);
        if (source?.arena !== slot.arena) continue;
        const end = slot.offset + byteSizeOf(slot);
        if (source.offset < end && slot.offset < source.offset + byteSizeOf(source)) return false;
      }
    }
    return true;
  }

  private isRead(output: Tensor): boolean {
    return this.lasts.get(output)! > this.firsts.get(output)! || this.places.has(output);
  }

  placeOf(root: Tensor): Place | undefined {
    return this.places.get(root);
  }

  /** The slot that a root is written to, by itself or as a part of what is. */
  slotAround(root: Tensor): Slot | undefined {
    const within = this.places.get(root)?.within;
    return !within || isSlot(within) ? within : this.slotAround(within);
  }

  ownerOf(root: Tensor): Tensor {
    const owner = this.owner.get(root);
    return owner ? this.ownerOf(owner) : root;
  }

  /** Owners of blocks in the activations arena. */
  all(): Tensor[] {
    const roots = [...this.firsts.keys()].filter((root) => !this.places.has(root) && this.isRead(root));
    return [...new Set(roots.map((root) => this.ownerOf(root)))];
  }

  life(owner: Tensor): { first: number; last: number } {
    let first = Number.POSITIVE_INFINITY;
    let last = -1;
    for (const root of this.firsts.keys()) {
      if (this.ownerOf(root) !== owner) continue;
      first = Math.min(first, this.firsts.get(root)!);
      last = Math.max(last, this.lasts.get(root)!);
    }
    return { first, last };
  }

  bytes(owner: Tensor): number {
    const pitch = this.pitches.get(owner);
    return pitch === undefined
      ? byteSizeOf(owner)
      : byteSizeOf({ shape: [...owner.shape.slice(0, -1), pitch], dtype: owner.dtype });
  }

  /** Of a root that nothing but the activations arena has a place for. */
  layout(root: Tensor): Layout {
    return pitchedLayout(root.shape, this.pitches.get(root));
  }
}
