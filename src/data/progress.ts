/** How far a long piece of work on data has come, in bytes of its input. */
export interface DataProgress {
  readonly stage: 'download' | 'scan' | 'encode';
  readonly done: number;
  readonly total: number;
}

export interface WorkOptions {
  /** Told now and then. */
  readonly onProgress?: (progress: DataProgress) => void;
  /** Stops the work; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}
