import { runtimeInfo } from '#src/runtime/session.js';
import { checkKernels } from './kernels.js';
import { samples } from './samples.js';

// Checks all samples with the instruction set that HEDDLE_ISA names, and writes what is wrong as JSON.
const complaints: string[] = [];
for (const sample of samples) {
  for (const way of ['kept', 'inside'] as const) {
    const found = await checkKernels(sample, way).catch((error: unknown) => [String(error)]);
    complaints.push(...found.map((message) => `${sample.name}, ${way}: ${message}`));
  }
}
process.stdout.write(JSON.stringify({ isa: runtimeInfo().isa, complaints }));
