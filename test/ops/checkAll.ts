import { runtimeInfo } from '#src/runtime/session.js';
import { checkKernels } from './kernels.js';
import { samples } from './samples.js';

// Checks all samples with the instruction set that HEDDLE_ISA names, and writes what is wrong as JSON. That threads and the
// compiler change nothing is shown with one instruction set, in kernels.test.ts.
const complaints: string[] = [];
for (const sample of samples) {
  const found = await checkKernels(sample, 'kept', 1).catch((error: unknown) => [String(error)]);
  complaints.push(...found.map((message) => `${sample.name}: ${message}`));
}
process.stdout.write(JSON.stringify({ isa: runtimeInfo().isa, complaints }));
