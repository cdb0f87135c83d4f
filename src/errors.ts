/** Every error a user can cause or meet. `code` is stable; `fields` carries the values the message speaks of. */
export class HeddleError extends Error {
  readonly fields: Readonly<Record<string, unknown>>;

  constructor(message: string, fields: Record<string, unknown> = {}, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.fields = fields;
  }
}

/** Shapes that do not fit an op or a model. */
export class ShapeError extends HeddleError {}
/** An element type an op does not take. */
export class DTypeError extends HeddleError {}
/** A setting that is unknown, out of range or contradicts another. */
export class ConfigError extends HeddleError {}
/** Input data that is missing, empty, malformed or out of its declared range. */
export class DataError extends HeddleError {}
/** A checkpoint that is missing, incomplete, corrupt or does not fit the model. */
export class CheckpointError extends HeddleError {}
/** The plan needs more memory than the device has. `fields.needed` and `fields.free` are in bytes. */
export class OutOfMemoryError extends HeddleError {}
/** A device that failed; every later call on its sessions fails with the same error. */
export class DeviceError extends HeddleError {}
/** A training run that cannot go on, for example after too many non-finite gradients in a row. */
export class TrainingError extends HeddleError {}

/** The candidate closest to `name` by edit distance, or undefined where nothing is near. */
export function nearestName(name: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(name.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(name, candidate);
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = previous[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(replace, previous[j] + 1, current[j - 1] + 1));
    }
    previous = current;
  }
  return previous[b.length];
}

/** The divisors of n next to `wanted`, to suggest in messages. */
export function divisorsNear(n: number, wanted: number): number[] {
  const divisors = Array.from({ length: n }, (_, index) => index + 1).filter((divisor) => n % divisor === 0);
  const below = divisors.filter((divisor) => divisor < wanted).at(-1);
  const above = divisors.find((divisor) => divisor > wanted);
  return [below, above].filter((divisor) => divisor !== undefined);
}
