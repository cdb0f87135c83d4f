import { type MetricName, type Metrics, metricNames } from '../objectives/metrics.js';
import type { TrainingEvent } from '../train/events.js';
import { Progress, type ProgressStream } from './progress.js';
import { formatDuration, formatNumber, formatTable } from './table.js';

/** One JSON object a line. Of the steps every `logEvery`-th is written, and all that were skipped; all else always. */
export function jsonReport(stream: ProgressStream, logEvery: number): (event: TrainingEvent) => void {
  return (event) => {
    if (event.event === 'step' && event.step % logEvery !== 0 && event.step !== 1 && !event.skipped) return;
    stream.write(`${JSON.stringify(event)}\n`);
  };
}

/** How each metric is headed and written. */
const metricColumns: Readonly<Record<MetricName, { head: string; decimals: number }>> = {
  perplexity: { head: 'perplexity', decimals: 3 },
  bitsPerCharacter: { head: 'bits/char', decimals: 4 },
  accuracy: { head: 'accuracy', decimals: 4 },
  f1: { head: 'f1', decimals: 4 },
};

/** The metrics that are there, as heads and texts. */
export const metricCells = (metrics: Metrics, unit = 'char'): { head: string; text: string }[] =>
  metricNames.flatMap((name) => {
    const value = metrics[name];
    const { head, decimals } = metricColumns[name];
    return value === undefined ? [] : [{ head: head.replace('char', unit), text: value.toFixed(decimals) }];
  });

/** A live line for steps, a table row for each evaluation, and a closing sentence. */
export function textReport(
  stream: ProgressStream,
  { maxSteps, out }: { maxSteps: number; out: string },
): (event: TrainingEvent) => void {
  let progress: Progress | undefined;
  const rows: (string | number)[][] = [];
  let lossSum = 0;
  let losses = 0;
  const print = (text: string) => (progress ? progress.print(text) : stream.write(`${text}\n`));
  return (event) => {
    switch (event.event) {
      case 'step':
        progress ??= new Progress(stream, { maxSteps, firstStep: event.step - 1 });
        progress.update(event);
        if (event.skipped) print(`step ${event.step}: gradients were not finite, nothing was updated`);
        lossSum += event.loss;
        losses++;
        break;
      case 'evaluation': {
        const trainLoss = losses ? (lossSum / losses).toFixed(4) : '';
        const metrics = metricCells(event);
        const scores = [event.validLoss.toFixed(4), ...metrics.map(({ text }) => text)];
        rows.push([formatNumber(event.step), trainLoss, ...scores, event.best ? 'best' : '']);
        const heads = ['step', 'train loss', 'valid loss', ...metrics.map(({ head }) => head), ''];
        const lines = formatTable(heads, rows).trimEnd().split('\n');
        const isFirst = rows.length === 1;
        print((isFirst ? lines : lines.slice(-1)).join('\n'));
        lossSum = losses = 0;
        break;
      }
      case 'notice':
        print(`note: ${event.message}`);
        break;
      case 'checkpoint':
        break;
      case 'done': {
        progress?.finish();
        const scores = [
          event.trainLoss === null ? '' : `train loss ${event.trainLoss.toFixed(4)}`,
          event.validLoss === null ? '' : `valid loss ${event.validLoss.toFixed(4)}`,
          event.accuracy === undefined ? '' : `accuracy ${event.accuracy.toFixed(4)}`,
          event.bitsPerCharacter === null ? '' : `${event.bitsPerCharacter.toFixed(4)} bits per character`,
        ].filter(Boolean);
        const how = { finished: 'finished', 'stopped early': 'stopped early', aborted: 'stopped' }[
          event.reason
        ];
        stream.write(
          `${how} at step ${formatNumber(event.step)} after ${formatDuration(event.seconds)}: ${scores.join(', ')}, ` +
            `${formatNumber(Math.round(event.tokensPerSecond))} tokens/s; checkpoint in ${out}\n`,
        );
      }
    }
  };
}
