/** Train, fine-tune and run Transformers. What is exported here is the public API; all else may change. */
export { compile, gradients, type Program } from './compile/index.js';
export { type LabelledOptions, labelledData } from './data/labelled.js';
export { type AlignedFiles, pairData } from './data/pairs.js';
export { promptCompletionData } from './data/promptCompletions.js';
export * from './data/rowData.js';
export { documentRows, idsOf, memoryRows, type TokenRows } from './data/rows.js';
export type { PartFiles, RowDataOptions } from './data/rowTexts.js';
export { sotu, type TextData, type TextDataOptions, text8, textData } from './data/textData.js';
export * from './errors.js';
export type { Score } from './evaluate/score.js';
export {
  NamedVectors,
  openVectors,
  rankCorrelation,
  scoreAnalogies,
  scoreSimilarity,
} from './evaluate/wordVectors.js';
export type { BeamOptions, Hypothesis } from './generate/beamSearch.js';
export type { Completion, GeneratedToken, GenerateOptions } from './generate/generate.js';
export { mergeCheckpoint } from './generate/mergeCheckpoint.js';
export type { PretrainedOptions } from './generate/openModel.js';
export { PretrainedModel, PretrainedTranslator } from './generate/pretrained.js';
export { Graph } from './graph/graph.js';
export { defineOp } from './graph/op.js';
export { Tensor } from './graph/tensor.js';
export { isTraining } from './graph/trace.js';
export { diagnose } from './inspect/doctor.js';
export { planTraining, type TrainingPlan } from './inspect/plan.js';
export {
  addAdapters,
  isAdapter,
  type LowRankOptions,
  mergeAdapters,
} from './models/adapters.js';
export {
  Classifier,
  type ClassifierConfig,
  type ClassifierOptions,
  classifierConfig,
} from './models/classifier.js';
export {
  type DecoderConfig,
  type DecoderOptions,
  decoderConfig,
  type EncoderConfig,
  type EncoderDecoderConfig,
  type EncoderDecoderOptions,
  type EncoderOptions,
  encoderConfig,
  encoderDecoderConfig,
} from './models/config.js';
export { Decoder, type LanguageModel, type LanguageModelInputs } from './models/decoder.js';
export {
  Encoder,
  type EncoderInputs,
  MaskedLanguageModel,
  type MaskedLanguageModelInputs,
} from './models/encoder.js';
export { type DecodeInputs, type EncodeInputs, EncoderDecoder } from './models/encoderDecoder.js';
export {
  decayLearningRates,
  freeze,
  scaleLearningRates,
  trainableCount,
} from './models/fineTuning.js';
export {
  type ConfiguredModel,
  languageModel,
  modelFromConfigJson,
  toConfigJson,
} from './models/huggingFace.js';
export { Mlp, type MlpConfig, type MlpInputs, type MlpOptions, mlpConfig } from './models/mlp.js';
export { type Pooling, pool } from './models/pooling.js';
export { WordVectors } from './models/wordVectors.js';
export * from './nn/index.js';
export * from './objectives/bagOfWords.js';
export { causal } from './objectives/causal.js';
export * from './objectives/classification.js';
export * from './objectives/completion.js';
export * from './objectives/masked.js';
export type { MetricName, Metrics } from './objectives/metrics.js';
export * from './objectives/objective.js';
export {
  pairBuckets,
  type SequenceToSequenceModel,
  type SequenceToSequenceOptions,
  sequenceToSequence,
} from './objectives/sequenceToSequence.js';
export * from './objectives/spanCorruption.js';
export * from './ops/index.js';
export { type Device, runtimeInfo, Session } from './runtime/session.js';
export { type Precision, precisions } from './shape/dtype.js';
export * from './text/bagOfWords.js';
export { oneHotRows } from './text/oneHot.js';
export type { TrainingEvent } from './train/events.js';
export * from './train/learningRate.js';
export { adam, adamw, type ClipSettings, type OptimizerSettings, sgd } from './train/optimizer.js';
export { Trainer, type TrainerOptions } from './train/trainer.js';
export {
  type WordVectorsEvent,
  type WordVectorsOptions,
  WordVectorsTrainer,
} from './train/wordVectorsTrainer.js';
