import { runtimeInfo } from '#src/runtime/session.js';
import { checkKernels } from './kernels.js';
import { samples } from './samples.js';
import { waysOf } from './trial.js';

// Checks all samples with the instruction set that HEDDLE_ISA names, and writes what is wrong as JSON. That threads and the
// compiler change nothing is shown with one instruction set, in kernels.test.ts.
const complaints: string[] = [];
for (const sample of samples) {
  for (const way of waysOf(sample).filter((name) => name.startsWith('kept'))) {
    const found = await checkKernels(sample, way, 1).catch((error: unknown) => [String(error)]);
    complaints.push(...found.map((message) => `${sample.name} (${way}): ${message}`));
  }
}
process.stdout.write(JSON.stringify({ isa: runtimeInfo().isa, complaints }));
