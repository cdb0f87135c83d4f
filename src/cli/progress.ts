import { formatDuration, formatNumber } from './table.js';

/** What a report of a training step shows. */
export interface Step {
  readonly step: number;
  readonly loss: number;
  readonly tokensPerSecond: number;
}

/** The part of a terminal stream that is used. */
export interface ProgressStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export interface ProgressOptions {
  readonly maxSteps: number;
  /** The step the run starts after, not 0 where it is resumed. */
  readonly firstStep?: number;
  /** Milliseconds of a clock that only rises. */
  readonly now?: () => number;
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

/** Milliseconds between two reports: fluent to the eye on a terminal, few lines in a log. */
const liveInterval = 100;
const plainInterval = 5000;

const barWidth = 16;

/** One line that shows where a run is: rewritten in place on a terminal, now and then a new one in a pipe. */
export class Progress {
  readonly #stream: ProgressStream;
  readonly #maxSteps: number;
  readonly #firstStep: number;
  readonly #now: () => number;
  readonly #live: boolean;
  readonly #colour: boolean;
  readonly #began: number;
  #lastShown = Number.NEGATIVE_INFINITY;
  #line = '';
  #pending: Step | undefined;

  constructor(stream: ProgressStream, options: ProgressOptions) {
    const environment = options.environment ?? process.env;
    this.#stream = stream;
    this.#maxSteps = options.maxSteps;
    this.#firstStep = options.firstStep ?? 0;
    this.#now = options.now ?? (() => performance.now());
    this.#live = stream.isTTY === true && environment.TERM !== 'dumb';
    this.#colour = this.#live && !environment.NO_COLOR;
    this.#began = this.#now();
  }

  /** Shows a step, unless another was shown just before. The last step is always shown. */
  update(step: Step): void {
    const now = this.#now();
    const interval = this.#live ? liveInterval : plainInterval;
    this.#pending = step;
    if (now - this.#lastShown < interval && step.step < this.#maxSteps) return;
    this.#lastShown = now;
    this.#show(step, now);
  }

  /** Writes lines that stay, such as a table at an evaluation. */
  print(text: string): void {
    this.#stream.write(this.#live && this.#line !== '' ? `\r\x1b[K${text}\n${this.#line}` : `${text}\n`);
  }

  /** Shows the last step if it has not been, and ends the line. */
  finish(): void {
    if (this.#pending) this.#show(this.#pending, this.#now());
    if (this.#live && this.#line !== '') this.#stream.write('\n');
    this.#line = '';
  }

  #show(step: Step, now: number): void {
    this.#pending = undefined;
    if (this.#live) {
      this.#line = this.#format(step, now, (this.#stream.columns || 80) - 1);
      this.#stream.write(`\r\x1b[K${this.#line}`);
    } else {
      this.#stream.write(`${this.#parts(step, now).join('  ')}\n`);
    }
  }

  /** Position, loss, rate and time left, the most important first. */
  #parts({ step, loss, tokensPerSecond }: Step, now: number): string[] {
    const done = step - this.#firstStep;
    const parts = [
      `step ${formatNumber(step)}/${formatNumber(this.#maxSteps)}`,
      `loss ${loss.toFixed(4)}`,
      `${formatNumber(Math.round(tokensPerSecond))} tokens/s`,
    ];
    // Right at the beginning there is no rate to go by.
    if (done > 0 && step < this.#maxSteps && now - this.#began >= liveInterval) {
      const left = ((now - this.#began) / done) * (this.#maxSteps - step);
      parts.push(`${formatDuration(left / 1000)} left`);
    }
    return parts;
  }

  #format(step: Step, now: number, columns: number): string {
    const parts = this.#parts(step, now);
    while (parts.length > 1 && parts.join('  ').length > columns) parts.pop();
    const text = parts.join('  ').slice(0, Math.max(0, columns));
    if (text.length + barWidth + 2 > columns) return text;
    const filled = Math.round((barWidth * Math.min(step.step, this.#maxSteps)) / this.#maxSteps);
    const bar = ['#'.repeat(filled), '-'.repeat(barWidth - filled)];
    return `${this.#colour ? `\x1b[36m${bar[0]}\x1b[2m${bar[1]}\x1b[0m` : bar.join('')}  ${text}`;
  }
}
