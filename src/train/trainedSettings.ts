import * as v from 'valibot';
import { CheckpointError } from '../errors.js';
import { type TrainSettings, trainSettingsSchema } from './settings.js';

/** The settings a model was trained with, as far as they say what it does, with others in their place where given. */
export function trainedSettings(
  { folder, settings }: { folder: string; settings: Readonly<Record<string, unknown>> },
  others: Readonly<Record<string, unknown>> = {},
): { settings: TrainSettings; labelNames: readonly string[] | undefined } {
  const { labelNames, ...saved } = settings;
  const given = Object.entries(others).filter(([, value]) => value !== undefined);
  if (saved.data === undefined && saved.source === undefined && others.data === undefined) {
    throw new CheckpointError(`${folder} does not say what it was trained on; name a text with --data`);
  }
  const known = Object.keys(trainSettingsSchema.entries);
  const kept = Object.entries(saved).filter(([name, value]) => known.includes(name) && value !== null);
  const result = v.safeParse(trainSettingsSchema, Object.fromEntries([...kept, ...given]));
  if (!result.success) {
    throw new CheckpointError(
      `${folder}: settings.json: ${v.getDotPath(result.issues[0])}: ${result.issues[0].message}`,
    );
  }
  return { settings: result.output, labelNames: labelNames as readonly string[] | undefined };
}
