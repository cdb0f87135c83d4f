// Low-rank adapters: put beside a model's dense layers, told apart from the rest, and merged into the weights.
import { ConfigError } from '../errors.js';
import { Graph } from '../graph/graph.js';
import { trace } from '../graph/trace.js';
import { type AdapterOptions, Linear, type LowRankAdapter, type Module } from '../nn/index.js';
import { full } from '../ops/index.js';
import { isMeant, parametersOf } from './fineTuning.js';

export interface LowRankOptions extends AdapterOptions {
  /**
   * Dense layers that get an adapter, by name. Default: all of every attention and feed-forward part, which is what
   * it took to be as good as training everything (Dettmers et al. 2023, arXiv:2305.14314, section 4).
   */
  targets?: readonly string[];
}

const defaultTargets = ['attention', 'crossAttention', 'feedForward'];

/** A dense layer with an adapter. */
export type AdaptedLinear = Linear & { readonly adapter: LowRankAdapter };

/** Dense layers by path. */
export const denseLayers = (model: Module): Map<string, Linear> =>
  new Map([...model.namedModules()].filter((entry): entry is [string, Linear] => entry[1] instanceof Linear));

/** Dense layers that have an adapter, by path. */
export const adaptedLayers = (model: Module): Map<string, AdaptedLinear> =>
  new Map(
    [...denseLayers(model)].filter((entry): entry is [string, AdaptedLinear] => Boolean(entry[1].adapter)),
  );

/**
 * Puts a low-rank adapter beside every dense layer that is named and freezes all else but what `trainable` names, such as a new
 * head. Returns the paths of the layers. Throws ConfigError.
 */
export function addAdapters(
  model: Module,
  { targets, ...options }: LowRankOptions,
  trainable: readonly string[] = [],
): string[] {
  const { rank, alpha = rank, dropout = 0 } = options;
  if (!Number.isSafeInteger(rank) || rank < 1 || !(alpha > 0) || !(dropout >= 0 && dropout < 1)) {
    throw new ConfigError(
      `an adapter needs a rank of at least 1, an alpha above 0 and a dropout below 1, but has ${rank}, ${alpha} and ${dropout}`,
    );
  }
  const layers = [...denseLayers(model)];
  const names = targets ?? defaultTargets.filter((name) => layers.some(([path]) => isMeant(path, name)));
  const unknown = names.find((name) => !layers.some(([path]) => isMeant(path, name)));
  if (unknown !== undefined || names.length === 0) {
    const what =
      unknown === undefined
        ? 'no dense layer is in an attention or feed-forward part'
        : `'${unknown}' names no dense layer`;
    const kinds = new Set(layers.map(([path]) => path.replace(/^.*layers\.\d+\./, '')));
    throw new ConfigError(`${what}; the model has ${[...kinds].join(', ')}`, { name: unknown });
  }
  const kept = new Set(parametersOf(model, trainable).map(([, parameter]) => parameter));
  for (const parameter of model.namedParameters().values())
    if (!kept.has(parameter)) parameter.trainable = false;
  const adapted = layers.filter(([path]) => names.some((name) => isMeant(path, name)));
  for (const [, linear] of adapted) linear.adapt(options);
  return adapted.map(([path]) => path);
}

/** Whether a parameter is an adapter's, by its path. */
export const isAdapter = (path: string): boolean => /(^|\.)adapter\.(down|up)$/.test(path);

/** What all adapters of a model have in common; undefined where it has none. Throws ConfigError where they differ. */
export function adapterOptions(model: Module): Required<AdapterOptions> | undefined {
  const all = [...adaptedLayers(model).values()].map(({ adapter }) => adapter.options);
  const texts = new Set(all.map((options) => JSON.stringify(options)));
  if (texts.size < 2) return all[0];
  throw new ConfigError(
    `adapters of a model must be alike to be saved, but there are ${[...texts].join(' and ')}`,
  );
}

/** A program that adds every adapter's correction to its layer's weight and sets the adapter to 0. */
export function mergeAdapters(model: Module): Graph {
  const graph = new Graph();
  trace({ graph, training: false }, () => {
    for (const linear of adaptedLayers(model).values()) {
      const { adapter, weight } = linear;
      graph.store(adapter.merged(linear), weight.slot!);
      graph.store(full(adapter.up.shape, 0), adapter.up.slot!);
    }
  });
  return graph;
}
