// Trains the tiny model, or goes on with it, in a process of its own, where choices of matrix products are not yet made; prints
// what the run says and the choices as JSON: node trainOnce.js FOLDER STEPS [resume]
import { eventsOf, tinyTrainer } from './tiny.js';

const [out, steps, resume] = process.argv.slice(2);
const trainer = tinyTrainer({
  out,
  maxSteps: Number(steps),
  checkpointEvery: 4,
  resume: resume === 'resume',
});
const events = await eventsOf(trainer);
const notices = events.flatMap((event) => (event.event === 'notice' ? [event.message] : []));
process.stdout.write(JSON.stringify(notices));
