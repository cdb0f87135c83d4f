/** Steps whose rate is shown as the present one. */
const recentSteps = 10;

interface Span {
  readonly tokens: number;
  readonly seconds: number;
}

const rateOf = (spans: readonly Span[]): number => {
  const seconds = spans.reduce((sum, span) => sum + span.seconds, 0);
  return seconds > 0 ? spans.reduce((sum, span) => sum + span.tokens, 0) / seconds : 0;
};

/**
 * Tokens a second. The time between two results alone says little: results that wait for the event loop come at once, the later of
 * them after no time.
 */
export class Throughput {
  private readonly spans: Span[] = [];
  private tokens = 0;
  private seconds = 0;

  /** A step's tokens, and the seconds since the result before it. */
  add(tokens: number, seconds: number): void {
    this.tokens += tokens;
    this.seconds += seconds;
    this.spans.push({ tokens, seconds });
    if (this.spans.length > recentSteps) this.spans.shift();
  }

  /** Over the last ten steps; 0 before the first. */
  get recent(): number {
    return rateOf(this.spans);
  }

  /** Over all steps; 0 before the first. */
  get overall(): number {
    const { tokens, seconds } = this;
    return rateOf([{ tokens, seconds }]);
  }
}
