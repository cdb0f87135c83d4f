// Saves one checkpoint after another until it is killed or cannot write, and prints each step once it is saved.
import { saveBest, saveCheckpoint } from '#src/checkpoint/checkpoint.js';
import { filesAt } from './samples.js';

const [run, first, count] = process.argv.slice(2);
try {
  for (let step = Number(first); ; step++) {
    await saveCheckpoint(run, step, filesAt(step, Number(count)));
    await saveBest(run, step, filesAt(step, Number(count)));
    process.stdout.write(`${step}\n`);
  }
} catch (error) {
  process.stdout.write(`${(error as Error).name}: ${(error as Error).message}\n`);
}
