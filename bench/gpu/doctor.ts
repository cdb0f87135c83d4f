import { execFileSync } from 'node:child_process';
import { diagnose } from '#src/inspect/doctor.js';
import { Session } from '#src/runtime/session.js';
import { python } from '../peers/served.js';
import { type Stage, verdict } from './stage.js';

/** What a program says, or that it does not run. */
function answer(command: string, args: readonly string[]): string {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: 'pipe', timeout: 50_000 }).trim();
  } catch (error) {
    return `does not run: ${(error as Error).message.split('\n')[0]}`;
  }
}

const torch = `import torch
print(torch.__version__, torch.version.cuda, torch.backends.cudnn.version(), torch.cuda.is_available())`;

/** `heddle doctor`, whether a session opens on the device, and what else the stages use. */
export const doctor: Stage = async ({ device, record, quick }) => {
  record({ doctor: diagnose() });
  const session = Session.open({ device });
  const { arenas: _, ...opened } = session.stats();
  await session.close();
  record({ session: opened });
  if (!quick) {
    record({
      nvidiaSmi: answer('nvidia-smi', []).split('\n'),
      computeSanitizer: answer('compute-sanitizer', ['--version']).split('\n').at(-1),
      python: answer(python, ['--version']),
      torch: answer(python, ['-c', torch]),
    });
  }
  console.log(JSON.stringify(opened));
  return verdict(opened.device === (device === 'cpu' ? 'cpu' : 'cuda'));
};
