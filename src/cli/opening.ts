import * as v from 'valibot';
import { text } from '../models/settingFields.js';

/** What every command that opens a trained model is told of it. */
export const openingEntries = {
  model: text('Folder of a run or a checkpoint'),
  base: v.optional(
    text('Folder of the model that adapters were trained for', { defaultFrom: 'where it was in training' }),
  ),
} satisfies v.ObjectEntries;
