// A run folder holds `checkpoints/step-000500`, ..., of which the last two are kept, and `best`, which holds weights only.
// Each is a folder of its own with config, tokenizer, weights and a manifest, so that each can be opened by its path.
import { readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { CheckpointError } from '../errors.js';
import {
  asCheckpointError,
  type FileDigest,
  makeFolder,
  putFolder,
  replacedName,
  sync,
  writeDurably,
} from './durable.js';
import { isPlainName, manifestName, verifyManifest, writeManifest } from './manifest.js';
import { weightsOf } from './safetensors.js';

const checkpointsFolder = 'checkpoints';
/** Of a folder with adapters, which need no config.json: that of their base will do. */
export const adapterConfigName = 'adapter_config.json';
const bestFolder = 'best';

/** Complete checkpoints kept in a run folder beside the best. */
const defaultKeep = 2;

/** A file of a checkpoint: a JSON value, or a function that writes it to a path and says what it wrote. */
export type CheckpointFile = { readonly name: string } & (
  | { readonly json: unknown }
  | { write(path: string): Promise<FileDigest> }
);

/** A folder whose files have been checked. */
export interface Checkpoint {
  readonly folder: string;
  /** The step it was taken after; undefined for a folder made elsewhere. */
  readonly step: number | undefined;
  /** Newer ones that were passed over, and why. */
  readonly skipped: readonly { folder: string; reason: string }[];
}

/**
 * Saves the state after `step` and returns its folder. Older checkpoints beyond `keep` are deleted once the new one is
 * complete; when saving fails, nothing is deleted and no part of the new one remains. Throws CheckpointError.
 */
export async function saveCheckpoint(
  runFolder: string,
  step: number,
  files: readonly CheckpointFile[],
  { keep = defaultKeep }: { keep?: number } = {},
): Promise<string> {
  if (!Number.isSafeInteger(step) || step < 0)
    throw new CheckpointError(`a checkpoint needs a step, not ${step}`);
  const parent = join(runFolder, checkpointsFolder);
  const folder = await saveFolder(parent, `step-${String(step).padStart(6, '0')}`, step, files);
  try {
    await removeOlder(parent, step, keep);
  } catch (error) {
    throw asCheckpointError(error, `${folder} is saved, but older checkpoints cannot be removed`);
  }
  return folder;
}

/** Puts the best weights so far in the place of the former best and returns their folder. Throws CheckpointError. */
export const saveBest = (
  runFolder: string,
  step: number,
  files: readonly CheckpointFile[],
): Promise<string> => saveFolder(runFolder, bestFolder, step, files);

/** Saves a model as a folder of its own, which must not be there yet, and returns it. Throws CheckpointError. */
export async function saveModel(
  folder: string,
  step: number,
  files: readonly CheckpointFile[],
): Promise<string> {
  if (await exists(folder))
    throw new CheckpointError(`${folder} is there already; choose another folder`, { folder });
  const path = resolve(folder);
  await saveFolder(dirname(path), basename(path), step, files, async () => {});
  return folder;
}

async function saveFolder(
  parent: string,
  name: string,
  step: number,
  files: readonly CheckpointFile[],
  clear: (parent: string) => Promise<void> = tidy,
): Promise<string> {
  const target = join(parent, name);
  const temporary = join(parent, `.saving-${name}`);
  try {
    await makeFolder(parent);
    await clear(parent);
    await rm(temporary, { recursive: true, force: true });
    await makeFolder(temporary);
    try {
      const digests: Record<string, FileDigest> = {};
      for (const file of files) {
        if (!isPlainName(file.name) || file.name === manifestName || Object.hasOwn(digests, file.name)) {
          throw new CheckpointError(
            `a checkpoint cannot hold a file ${JSON.stringify(file.name)} beside its others`,
          );
        }
        digests[file.name] = await writeFile(temporary, file);
      }
      await writeManifest(temporary, { step, files: digests }); // last: a folder without it is not complete
      await verifyManifest(temporary, { contents: false });
      await sync(temporary);
      await putFolder(temporary, target);
    } catch (error) {
      await rm(temporary, { recursive: true, force: true }).catch(() => {}); // the first error is the one to report
      await restore(parent, name).catch(() => {});
      throw error;
    }
  } catch (error) {
    throw asCheckpointError(error, `cannot save ${target}`);
  }
  return target;
}

async function writeFile(folder: string, file: CheckpointFile): Promise<FileDigest> {
  const path = join(folder, file.name);
  if ('json' in file)
    return writeDurably(path, new TextEncoder().encode(`${JSON.stringify(file.json, null, 2)}\n`));
  const digest = await file.write(path);
  await sync(path);
  return digest;
}

/** Brings back a folder that was moved aside for one that never came. */
async function restore(parent: string, name: string): Promise<void> {
  if (await exists(join(parent, name))) return;
  await rename(join(parent, replacedName(name)), join(parent, name)).catch((error) => {
    if (error.code !== 'ENOENT') throw error;
  });
}

/** Clears away what an interrupted save or removal has left. */
async function tidy(parent: string): Promise<void> {
  for (const name of await readdir(parent)) {
    if (name.startsWith(replacedName(''))) await restore(parent, name.slice(replacedName('').length));
    if (/^\.(saving|replaced|removing)-/.test(name))
      await rm(join(parent, name), { recursive: true, force: true });
  }
}

/** Keeps the newest `keep` up to `step`. Later ones, of a run that was wound back, are replaced when it gets there again. */
async function removeOlder(parent: string, step: number, keep: number): Promise<void> {
  let kept = 0;
  for (const candidate of await listSteps(parent)) {
    if (candidate.step > step) continue;
    if (kept < keep) {
      const whole = await verifyManifest(candidate.folder, { contents: false }).catch(() => undefined);
      if (whole) kept++;
      continue;
    }
    const away = join(parent, `.removing-${basename(candidate.folder)}`); // never seen half deleted under its own name
    await rename(candidate.folder, away);
    await rm(away, { recursive: true, force: true });
  }
}

/** The checkpoints of a run folder, newest first, complete or not. */
async function listSteps(parent: string): Promise<{ step: number; folder: string }[]> {
  const names: string[] = await readdir(parent).catch((error) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  const found = names.flatMap((name) => {
    const match = /^(\.replaced-)?step-(\d{6,})$/.exec(name);
    return match && !(match[1] && names.includes(name.slice(match[1].length)))
      ? [{ step: Number(match[2]), folder: join(parent, name) }]
      : [];
  });
  return found.sort((a, b) => b.step - a.step);
}

/** Whether a run folder holds checkpoints, complete or not. */
export const hasCheckpoints = async (runFolder: string): Promise<boolean> =>
  (await listSteps(join(runFolder, checkpointsFolder))).length > 0;

/** The newest checkpoint of a run folder whose every byte is as it was written. Throws CheckpointError. */
export async function latestCheckpoint(runFolder: string): Promise<Checkpoint> {
  const skipped: { folder: string; reason: string }[] = [];
  try {
    if (!(await exists(runFolder)))
      throw new CheckpointError(`${runFolder} does not exist; give the folder of a run`);
    for (const { step, folder } of await listSteps(join(runFolder, checkpointsFolder))) {
      const checked = await tryFolder(folder, step, skipped);
      if (checked) return checked;
    }
  } catch (error) {
    throw asCheckpointError(error, `cannot read ${runFolder}`);
  }
  if (skipped.length === 0) {
    throw new CheckpointError(
      `${runFolder} holds no checkpoint yet; give the folder of a run that has saved one`,
    );
  }
  const list = skipped.map(({ reason }) => reason).join('; ');
  throw new CheckpointError(`${runFolder} holds no whole checkpoint: ${list}; start the run anew`, {
    skipped,
  });
}

/** A folder that passes all checks; otherwise the reason is added to `skipped`. */
async function tryFolder(
  folder: string,
  step: number | undefined,
  skipped: { folder: string; reason: string }[],
): Promise<Checkpoint | undefined> {
  try {
    const manifest = await verifyManifest(folder, { contents: true });
    if (step !== undefined && manifest.step !== step) {
      throw new CheckpointError(`${folder} holds step ${manifest.step}; its name was changed`);
    }
    return { folder, step: manifest.step, skipped: [...skipped] };
  } catch (error) {
    if (!(error instanceof CheckpointError)) throw error;
    skipped.push({ folder, reason: error.message });
    return undefined;
  }
}

/**
 * Opens what a user points at: a run folder (its best weights or, with `prefer: 'latest'`, its newest checkpoint), a
 * checkpoint folder, or a folder made elsewhere that holds `config.json` and weights, or adapters. All files listed in a manifest are
 * checked. Throws CheckpointError.
 */
export async function openCheckpoint(
  path: string,
  { prefer = 'best' }: { prefer?: 'best' | 'latest' } = {},
): Promise<Checkpoint> {
  try {
    const folder = await standing(path);
    if (await exists(join(folder, manifestName))) {
      return { folder, step: (await verifyManifest(folder, { contents: true })).step, skipped: [] };
    }
    const best = await standing(join(folder, bestFolder)).catch(() => undefined);
    const hasSteps = await hasCheckpoints(folder);
    if (best !== undefined || hasSteps) return await openRun(folder, best, hasSteps, prefer);
    if (await exists(join(folder, adapterConfigName))) return { folder, step: undefined, skipped: [] };
    if (!(await exists(join(folder, 'config.json')))) {
      throw new CheckpointError(
        `${path} is neither a run nor a checkpoint nor a model folder (no checkpoints, ${manifestName} or config.json); give the folder of --out`,
        { path },
      );
    }
    await weightsOf(folder);
    return { folder, step: undefined, skipped: [] };
  } catch (error) {
    throw asCheckpointError(error, `cannot read ${path}`);
  }
}

async function openRun(
  folder: string,
  best: string | undefined,
  hasSteps: boolean,
  prefer: 'best' | 'latest',
): Promise<Checkpoint> {
  const skipped: { folder: string; reason: string }[] = [];
  if (best !== undefined && (prefer === 'best' || !hasSteps)) {
    const checked = await tryFolder(best, undefined, skipped);
    if (checked) return checked;
    if (!hasSteps) throw new CheckpointError(`${skipped[0].reason}; copy the folder again`, { skipped });
  }
  const latest = await latestCheckpoint(folder);
  return { ...latest, skipped: [...skipped, ...latest.skipped] };
}

/** The folder at `path`, or the one that was moved aside while it was being replaced. */
async function standing(path: string): Promise<string> {
  const aside = join(dirname(path), replacedName(basename(path)));
  const folder = !(await exists(path)) && (await exists(aside)) ? aside : path;
  const status = await stat(folder).catch((error) => {
    throw error.code === 'ENOENT'
      ? new CheckpointError(`${path} does not exist; give the folder of a run`)
      : error;
  });
  if (!status.isDirectory())
    throw new CheckpointError(`${path} is a file; give the folder that holds it`, { path });
  return folder;
}

/** Whether a checkpoint holds a file of that name. */
export const hasFile = ({ folder }: Pick<Checkpoint, 'folder'>, name: string): Promise<boolean> =>
  exists(join(folder, name));

/** A JSON file of a checkpoint. Throws CheckpointError. */
export async function readCheckpointJson(
  checkpoint: Pick<Checkpoint, 'folder'>,
  name: string,
): Promise<unknown> {
  const path = join(checkpoint.folder, name);
  try {
    return JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    if (error instanceof SyntaxError)
      throw new CheckpointError(`${path} is not JSON (${error.message.slice(0, 80)})`);
    throw asCheckpointError(error, `cannot read ${path}`);
  }
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    (error) => {
      if (error.code === 'ENOENT') return false;
      throw error;
    },
  );
