import {
  type Checkpoint,
  hasCheckpoints,
  latestCheckpoint,
  openCheckpoint,
  saveBest,
  saveCheckpoint,
  saveModel,
} from '../checkpoint/checkpoint.js';
import { makeFolder } from '../checkpoint/durable.js';
import { MetricsLog } from '../checkpoint/metricsLog.js';
import type { PartName } from '../data/split.js';
import type { TextData } from '../data/textData.js';
import { CheckpointError, ConfigError, TrainingError } from '../errors.js';
import { type Score, score } from '../evaluate/score.js';
import type { BeamOptions, Hypothesis } from '../generate/beamSearch.js';
import { type Completion, type GenerateOptions, Generator } from '../generate/generate.js';
import type { LanguageModel } from '../models/decoder.js';
import type { Module } from '../nn/index.js';
import type { EvaluationBatches, ObjectiveData } from '../objectives/objective.js';
import { extendTokenizer, modelTokens } from '../text/appendedTokens.js';
import { EarlyStopping, watchedOf } from './earlyStopping.js';
import type { DoneEvent, StepEvent, TrainingEvent } from './events.js';
import { changedMatmulChoices } from './matmulChoices.js';
import { checkSettings, runSettings } from './runSettings.js';
import { type RunPosition, RunState } from './runState.js';
import { Stepper, type StepResult } from './stepper.js';
import { Throughput } from './throughput.js';
import { type FilledOptions, fillOptions, longestRow, type TrainerOptions } from './trainerOptions.js';

export type { TrainerOptions } from './trainerOptions.js';

/** Steps whose mean loss a run reports at its end. */
const recentSteps = 100;

/** Trains a model for an objective: one native call a step, everything else on the device. */
export class Trainer<Model extends Module = LanguageModel, Data extends ObjectiveData = TextData> {
  private readonly options: FilledOptions<Model, Data>;
  private readonly stepper: Stepper<Model, Data>;
  private readonly state: RunState;
  private readonly earlyStopping: EarlyStopping;
  private readonly generator: Generator | undefined;
  private readonly parts = new Map<PartName, EvaluationBatches>();
  private log: MetricsLog | undefined;
  private step = 0;
  private recentLosses: number[] = [];
  /** Of the steps of this process, without evaluations and checkpoints. */
  private readonly throughput = new Throughput();
  /** Weights of the best evaluation of this process, while early stopping may ask for them. */
  private bestWeights: Uint8Array<ArrayBuffer> | undefined;
  /** True between a step that asks for an evaluation and its end, so that a run stopped in between makes up for it. */
  private evaluationDue = false;

  constructor(options: TrainerOptions<Model, Data>) {
    this.options = fillOptions(options);
    const { model, data, objective, settings, batchSize } = this.options;
    const { earlyStoppingPatience: patience, earlyStoppingMinGain: minGain } = this.options;
    this.stepper = new Stepper(this.options);
    const { precision } = this.options;
    const { session, table, slots, mirror } = this.stepper;
    const said = { objective: objective.name, precision, ...settings };
    this.state = new RunState(session, model, table, slots, mirror, data.tokenizer, said, objective.files);
    this.earlyStopping = new EarlyStopping({ patience, minGain });
    if (objective.continuesTexts && data.tokenizer) {
      const languageModel = model as unknown as LanguageModel;
      const context = languageModel.maxPositionEmbeddings ?? longestRow(objective.buckets(batchSize));
      const tokenizer = extendTokenizer(data.tokenizer, modelTokens.decoder, this.stepper.vocabSize);
      this.generator = new Generator(session, languageModel, table, tokenizer, context, precision);
    }
  }

  /** Where the steps are computed, in words; with device 'auto' also why CUDA is not in use. */
  get device(): string {
    const { device, isa, workers, reason } = this.stepper.session.stats();
    const why = this.options.device === 'cpu' ? '' : `; ${reason}`;
    return device === 'cpu' ? `the CPU (${isa}, ${workers} threads${why})` : device;
  }

  /** Trains until maxSteps, an early stop or the signal, and reports as it goes. */
  async *run({ signal }: { signal?: AbortSignal } = {}): AsyncGenerator<TrainingEvent> {
    const { out, resume } = this.options;
    const checkpoint = resume ? await latestCheckpoint(out!) : undefined;
    const position = checkpoint && (await RunState.positionOf(checkpoint));
    await this.stepper.load(position?.matmulChoices);
    if (checkpoint && position) yield* this.resumeRun(checkpoint, position);
    else if (out && (await hasCheckpoints(out))) {
      throw new ConfigError(
        `${out} holds checkpoints of an earlier run; resume it, or choose another folder`,
        { out },
      );
    }
    if (!resume) yield* this.adoptWeights();
    if (out) this.state.weightFiles(); // what cannot be saved is refused before the first step
    if (out) {
      await makeFolder(out);
      this.log = await MetricsLog.open(`${out}/metrics.jsonl`, this.step > 0 ? this.step : -1);
    }
    const { skippedRows } = this.stepper.batches;
    if (skippedRows > 0) {
      const message = `${skippedRows} rows of the train part are longer than the longest bucket and are left out`;
      yield { event: 'notice', step: this.step, message };
    }
    const { device, isa } = this.stepper.session.stats();
    if (this.options.precision === 'bf16' && device === 'cpu' && isa !== 'avx512bf16') {
      const message =
        `bf16 is emulated: the kernels used here (${isa}) widen it and compute in float32, which saves memory but no time; ` +
        'processors with AVX-512 BF16 multiply it as it is';
      yield { event: 'notice', step: this.step, message };
    }
    const started = performance.now();
    const firstStep = this.step;
    try {
      if (this.evaluationDue) yield* this.evaluateStep(this.options.evalBatches, signal);
      yield* this.trainSteps(signal);
      const last = yield* this.finish(this.step > firstStep, signal);
      yield {
        event: 'done',
        step: this.step,
        trainLoss: this.recentLosses.length ? mean(this.recentLosses) : null,
        validLoss: last.score?.loss ?? null,
        bitsPerCharacter: last.score?.bitsPerCharacter ?? null,
        ...(last.score && 'accuracy' in last.score && { accuracy: last.score.accuracy }),
        tokensPerSecond: this.throughput.overall,
        seconds: (performance.now() - started) / 1000,
        reason: last.reason,
      };
    } finally {
      await this.log?.close();
      this.log = undefined;
    }
  }

  private async *trainSteps(signal?: AbortSignal): AsyncGenerator<TrainingEvent> {
    const { maxSteps } = this.options;
    const goesOn = () => this.step < maxSteps && !signal?.aborted && !this.earlyStopping.shouldStop;
    let last = performance.now();
    let running = goesOn() ? this.stepper.submit(this.step) : undefined;
    while (running) {
      const current: Promise<StepResult> = running;
      const step = this.step + 1;
      // The next step is queued while this one runs, except where weights are about to be looked at.
      const next: Promise<StepResult> | undefined =
        this.stepper.queues && !this.isPause(step) && !signal?.aborted
          ? this.stepper.submit(step)
          : undefined;
      next?.catch(() => {}); // reported when it is awaited
      const result = await current;
      const now = performance.now();
      yield this.recordStep(step, result, (now - last) / 1000);
      last = now;
      this.checkSkipped(result);
      if (this.isPause(step) && step < maxSteps) {
        yield* this.pause(signal);
        last = performance.now();
      }
      running = next ?? (goesOn() ? this.stepper.submit(this.step) : undefined);
    }
  }

  private isEvaluation(step: number): boolean {
    const { evalEvery, maxSteps } = this.options;
    return evalEvery > 0 && step % evalEvery === 0 && step < maxSteps;
  }

  private isCheckpoint(step: number): boolean {
    const { out, checkpointEvery, maxSteps } = this.options;
    return out !== undefined && checkpointEvery > 0 && step % checkpointEvery === 0 && step < maxSteps;
  }

  private isPause(step: number): boolean {
    return step === this.options.maxSteps || this.isEvaluation(step) || this.isCheckpoint(step);
  }

  private recordStep(
    step: number,
    { loss, gradientNorm, skippedInRow, tokens }: StepResult,
    seconds: number,
  ): StepEvent {
    this.step = step;
    this.throughput.add(tokens, seconds);
    this.evaluationDue = this.isEvaluation(step);
    if (Number.isFinite(loss)) this.recentLosses.push(loss);
    if (this.recentLosses.length > recentSteps) this.recentLosses.shift();
    const learningRate = this.stepper.rateAt(step - 1);
    const deterministic = { event: 'step', step, loss, learningRate, gradientNorm } as const;
    const event = skippedInRow > 0 ? ({ ...deterministic, skipped: true } as const) : deterministic;
    this.log?.append(event);
    return { ...event, tokensPerSecond: this.throughput.recent };
  }

  private checkSkipped({ skippedInRow }: StepResult): void {
    if (skippedInRow < this.options.maxSkippedSteps) return;
    throw new TrainingError(
      `the gradients of ${skippedInRow} steps in a row were not finite (step ${this.step}); ` +
        'lower learningRate or clip gradients, and resume from the last checkpoint',
      { step: this.step, skippedInRow },
    );
  }

  /** Evaluates and saves where it is time to. */
  private async *pause(signal?: AbortSignal): AsyncGenerator<TrainingEvent> {
    if (this.evaluationDue && !signal?.aborted) yield* this.evaluateStep(this.options.evalBatches, signal);
    if (this.isCheckpoint(this.step) && !signal?.aborted) yield* this.checkpoint();
  }

  private async *evaluateStep(
    batches: number,
    signal?: AbortSignal,
    logged = true,
  ): AsyncGenerator<TrainingEvent, Score | undefined> {
    const { step } = this;
    const { out } = this.options;
    let found: Score;
    try {
      found = await this.evaluate('valid', { batches: batches || undefined, signal });
    } catch (error) {
      if (signal?.aborted) return undefined;
      throw error;
    }
    this.evaluationDue = false;
    const best = this.earlyStopping.observe(step, watchedOf(found, this.options.earlyStoppingMetric));
    if (best && this.options.earlyStoppingPatience > 0)
      this.bestWeights = await this.state.copyWeights(this.bestWeights);
    if (best && out) await saveBest(out, step, this.state.weightFiles());
    const { loss: validLoss, tokens: _, ...metrics } = found;
    const event = { event: 'evaluation', step, validLoss, ...metrics, best } as const;
    if (logged) this.log?.append(event);
    yield event;
    return found;
  }

  private async *checkpoint(): AsyncGenerator<TrainingEvent> {
    await this.log?.flush();
    yield { event: 'checkpoint', step: this.step, folder: await this.save(this.options.out!) };
  }

  /** The last evaluation and checkpoint of a run; the best weights come back where it was stopped early. */
  private async *finish(
    trained: boolean,
    signal?: AbortSignal,
  ): AsyncGenerator<TrainingEvent, { reason: DoneEvent['reason']; score?: Score }> {
    const { out, data, objective } = this.options;
    const reason = this.earlyStopping.shouldStop ? 'stopped early' : signal?.aborted ? 'aborted' : 'finished';
    let last: Score | undefined;
    if (reason === 'finished' && objective.has(data, 'valid'))
      last = yield* this.evaluateStep(0, signal, trained);
    if (out && trained) yield* this.checkpoint();
    if (reason === 'stopped early') {
      // The checkpoint keeps the last weights, for whoever wants to go on; what the model ends with are the best.
      if (this.bestWeights) await this.state.putWeights(this.bestWeights);
      else if (out) await this.state.restoreWeights(await openCheckpoint(`${out}/best`));
      last = await this.evaluate('valid');
    }
    return { reason, score: last };
  }

  /** Scores a part of the data with the weights as they are now. */
  async evaluate(part: PartName, options: { batches?: number; signal?: AbortSignal } = {}): Promise<Score> {
    await this.stepper.load();
    const { batchSize, objective, data, seed } = this.options;
    let batches = this.parts.get(part);
    if (!batches) {
      batches = objective.evaluation(data, part, {
        batchSize,
        seed,
        vocabSize: this.stepper.vocabSize,
      });
      this.parts.set(part, batches);
    }
    return score(batches, this.stepper.evaluation, options);
  }

  /** Continues `prompt` with the weights as they are now. */
  async *generate(prompt: string, options: GenerateOptions = {}): AsyncGenerator<string> {
    yield* (await this.loadGenerator()).generate(prompt, options);
  }

  /** Continues several prompts at once with the weights as they are now. */
  async generateBatch(prompts: readonly string[], options: GenerateOptions = {}): Promise<Completion[]> {
    return (await this.loadGenerator()).generateBatch(prompts, options);
  }

  /** The most probable continuations of each prompt, best first, with the weights as they are now. */
  async beamSearch(prompts: readonly string[], options: BeamOptions = {}): Promise<Hypothesis[][]> {
    return (await this.loadGenerator()).beamSearch(prompts, options);
  }

  private async loadGenerator(): Promise<Generator> {
    if (!this.generator) {
      throw new ConfigError(
        `a model for the objective ${this.options.objective.name} does not continue texts; train it with causal`,
      );
    }
    await this.stepper.load();
    return this.generator;
  }

  /** Writes a checkpoint to a run folder and returns the checkpoint's folder. */
  async save(runFolder: string): Promise<string> {
    await this.stepper.load();
    return saveCheckpoint(runFolder, this.step, this.state.files(this.position()));
  }

  /**
   * Writes the model, or the adapters of one that has them, to a folder of its own, which must not be there yet: what
   * `PretrainedModel.open` takes, and no state of the run. Adapters name their base, and are opened together with it.
   */
  async saveModel(folder: string): Promise<void> {
    await this.stepper.load();
    await saveModel(folder, this.step, this.state.weightFiles());
  }

  /** Finishes what is queued and gives the device's memory back. */
  close(): Promise<void> {
    return this.stepper.session.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Starts from the weights of initFrom, and says which of the model's it has not. */
  private async *adoptWeights(): AsyncGenerator<TrainingEvent> {
    const { initFrom } = this.options;
    if (initFrom === undefined || this.step > 0) return;
    const { taken, missing } = await this.state.adoptWeights(await openCheckpoint(initFrom));
    if (taken === 0) {
      throw new CheckpointError(
        `${initFrom} has no tensor that the model can take; its names and shapes are others`,
      );
    }
    const others = missing.length ? `; these start anew: ${missing.join(', ')}` : '';
    yield { event: 'notice', step: 0, message: `${taken} tensors are those of ${initFrom}${others}` };
  }

  private async *resumeRun(checkpoint: Checkpoint, position: RunPosition): AsyncGenerator<TrainingEvent> {
    const out = this.options.out!;
    for (const { folder, reason } of checkpoint.skipped) {
      yield { event: 'notice', step: checkpoint.step ?? 0, message: `${folder} is passed over: ${reason}` };
    }
    const message = checkSettings(out, position.run, runSettings(this.options, this.stepper));
    if (message !== undefined) yield { event: 'notice', step: position.step, message };
    await this.state.restoreAll(checkpoint, this.options.initFrom);
    const { device, matmulChoices } = this.stepper.session.stats();
    const changed = changedMatmulChoices(position.matmulChoices ?? '', matmulChoices);
    if (device === 'cuda' && changed) yield { event: 'notice', step: position.step, message: changed };
    this.step = position.step;
    this.evaluationDue = position.evaluationDue;
    this.recentLosses = [...position.recentLosses];
    Object.assign(this.earlyStopping.state, position.earlyStopping);
  }

  private position(): RunPosition {
    return {
      version: 1,
      step: this.step,
      evaluationDue: this.evaluationDue,
      recentLosses: this.recentLosses,
      earlyStopping: this.earlyStopping.state,
      matmulChoices: this.stepper.session.stats().matmulChoices,
      run: runSettings(this.options, this.stepper),
    };
  }
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
