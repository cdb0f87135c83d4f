// Runs the smaller samples of every op on a device: the program that compute-sanitizer watches. HEDDLE_TEST_DEVICE=cuda node
// samples.js [largest number of flops].
import { checkKernels } from '../../test/ops/kernels.js';
import { samples } from '../../test/ops/samples.js';
import { prepare, waysOf } from '../../test/ops/trial.js';

const limit = Number(process.argv[2] ?? 1e5);
const chosen = samples.filter((sample) => prepare(sample, 'kept').program.flops <= limit);
let wrong = 0;
for (const sample of chosen) {
  for (const way of waysOf(sample).filter((name) => name.startsWith('kept')))
    for (const complaint of await checkKernels(sample, way, 1)) {
      wrong++;
      console.log(`${sample.name}, ${way}: ${complaint}`);
    }
}
console.log(`${chosen.length} of ${samples.length} samples, ${wrong} complaints`);
process.exitCode = wrong > 0 ? 1 : 0;
