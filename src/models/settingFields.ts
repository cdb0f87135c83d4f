// The kinds of settings there are. Each carries its range, a description and a unit, from which the command line
// derives its flags, its help and the texts of its errors.
import * as v from 'valibot';

/** What a setting says about itself beyond its type. */
export interface FieldNotes {
  /** What the number counts or measures. */
  readonly unit?: string;
  /** How the value follows from other settings where it is not given. */
  readonly defaultFrom?: string;
}

export const positiveInteger = (description: string, notes: FieldNotes = {}) =>
  v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.description(description), v.metadata({ ...notes }));

export const nonNegativeInteger = (description: string, notes: FieldNotes = {}) =>
  v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.description(description), v.metadata({ ...notes }));

export const positiveNumber = (description: string, notes: FieldNotes = {}) =>
  v.pipe(v.number(), v.finite(), v.gtValue(0), v.description(description), v.metadata({ ...notes }));

export const nonNegativeNumber = (description: string, notes: FieldNotes = {}) =>
  v.pipe(v.number(), v.finite(), v.minValue(0), v.description(description), v.metadata({ ...notes }));

/** A number of at least 0 and below 1. */
export const fraction = (description: string, notes: FieldNotes = {}) =>
  v.pipe(v.number(), v.minValue(0), v.ltValue(1), v.description(description), v.metadata({ ...notes }));

export const choice = <const Options extends readonly string[]>(
  options: Options,
  description: string,
  notes: FieldNotes = {},
) => v.pipe(v.picklist(options), v.description(description), v.metadata({ ...notes }));

export const onOff = (description: string, notes: FieldNotes = {}) =>
  v.pipe(v.boolean(), v.description(description), v.metadata({ ...notes }));

export const text = (description: string, notes: FieldNotes = {}) =>
  v.pipe(v.string(), v.minLength(1), v.description(description), v.metadata({ ...notes }));
