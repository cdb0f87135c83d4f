import type { DataProgress } from '../data/progress.js';
import type { ProgressStream } from './progress.js';
import { formatBytes } from './table.js';

const names = { download: 'downloading', scan: 'reading', encode: 'tokenising' } as const;

/** Shows on a terminal how far a corpus has been downloaded, read and tokenised; elsewhere nothing. */
export function dataProgress(stream: ProgressStream): ((progress: DataProgress) => void) | undefined {
  if (!stream.isTTY) return undefined;
  let shown = 0;
  return ({ stage, done, total }) => {
    const now = performance.now();
    const isLast = done >= total;
    if (!isLast && now - shown < 100) return;
    shown = now;
    const line = `${names[stage]} ${formatBytes(done)} of ${formatBytes(total)}`;
    stream.write(isLast ? '\r\x1b[K' : `\r\x1b[K${line}`);
  };
}
