import { gradients } from '#src/compile/index.js';
import type { Graph } from '#src/graph/graph.js';
import type { Tensor } from '#src/graph/tensor.js';
import type { ParameterTable } from '#src/models/parameterTable.js';

/** Stores a loss's gradients by all parameters at their places in the gradients arena. */
export function storeGradients(graph: Graph, { entries }: ParameterTable, loss: Tensor): void {
  const found = gradients(
    loss,
    entries.map(({ slot }) => graph.readSlot(slot)),
  );
  entries.forEach(({ slot }, index) => {
    graph.store(found[index]!, { ...slot, arena: 'gradients' });
  });
}
