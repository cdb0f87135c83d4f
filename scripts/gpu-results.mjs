// Takes the report.json of a GPU bundle's run.sh into bench/results/ and renews the table of docs/performance.md from all
// results there that were measured on a GPU.
//
//   npm run gpu:results -- REPORT [--root FOLDER]
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const [BEGIN, END] = [
  '<!-- GPU results: npm run gpu:results writes this -->',
  '<!-- end of the GPU results -->',
];
const COMMAND = 'sh gpu-bundle/run.sh --only doctor,benchmark';

class ResultsError extends Error {}

/** @returns the report, whole enough to be a result */
function readReport(file) {
  let report;
  try {
    report = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new ResultsError(`${file} is no report: ${error.message}`);
  }
  const { gpu, device, quick, date, stages } = report ?? {};
  if (typeof gpu !== 'string' || !gpu.includes(',') || !/^cuda/.test(device ?? ''))
    throw new ResultsError(
      `${file} was not measured on a GPU (gpu: ${gpu}, device: ${device}); run run.sh where there is one`,
    );
  if (quick)
    throw new ResultsError(`${file} comes from --quick, which measures nothing; run run.sh without it`);
  if (!/^\d{4}-\d\d-\d\d/.test(date ?? '')) throw new ResultsError(`${file} has no date`);
  if (!measuredCases(stages).length)
    throw new ResultsError(`${file} has no measured case; run run.sh --only benchmark`);
  return report;
}

const measuredCases = (stages) =>
  (stages?.benchmark?.cases ?? []).filter(({ ours }) => ours?.milliseconds?.median > 0);

const nameOf = ({ gpu }) => gpu.split(',')[0].trim();
const fileNameOf = (report) => {
  const words = nameOf(report)
    .toLowerCase()
    .replace(/^nvidia\s+/, '')
    .match(/[a-z0-9]+/g);
  if (!words) throw new ResultsError(`the GPU's name ${JSON.stringify(nameOf(report))} makes no file name`);
  return `gpu-${words.join('-')}.json`;
};

/** PyTorch's fastest way of running a case, by tokens a second. */
const bestPeer = ({ peers = [] }) =>
  peers
    .filter(({ tokensPerSecond }) => tokensPerSecond > 0)
    .sort((a, b) => b.tokensPerSecond - a.tokensPerSecond)[0];

const milliseconds = (value) => `${value.toPrecision(value < 100 ? 3 : 4)} ms`;
const MEBIBYTE = 2 ** 20;

function caseRow(each) {
  const { name, tokens, ours } = each;
  const peer = bestPeer(each);
  const { arenaBytes, gpuBytes } = ours.memory ?? {};
  const memory = gpuBytes ?? arenaBytes;
  return [
    name,
    ours.precision,
    tokens.toLocaleString('en'),
    milliseconds(ours.milliseconds.median),
    Math.round(ours.tokensPerSecond).toLocaleString('en'),
    memory === undefined ? '-' : `${Math.round(memory / MEBIBYTE).toLocaleString('en')} MiB`,
    peer ? `${milliseconds(peer.milliseconds.median)} (${peer.way})` : '-',
    peer ? (ours.tokensPerSecond / peer.tokensPerSecond).toFixed(2) : '-',
  ];
}

const HEADER = [
  'case',
  'precision',
  'tokens a step',
  'Heddle',
  'tokens/s',
  'memory',
  'fastest PyTorch',
  'ratio',
];
const row = (cells) => `| ${cells.join(' | ')} |`;

function section(report) {
  const [, driver, memory] = report.gpu.split(',').map((part) => part.trim());
  const { stages } = report;
  const others = Object.entries(stages).filter(([name]) => name !== 'benchmark');
  const outcomes = others.map(([name, { status }]) => `${name} ${status}`).join(', ');
  const cublas = stages.doctor?.doctor?.addon?.cuda?.cublas;
  const library = cublas?.file ? `cuBLASLt ${cublas.version}` : 'without cuBLASLt';
  return [
    `### ${nameOf(report)}`,
    '',
    `${report.date.slice(0, 10)}, driver ${driver}, ${memory}, ${library}: \`${COMMAND}\`. Medians; ratio = tokens a second, Heddle over PyTorch.`,
    ...(outcomes ? [`Other stages of the report: ${outcomes}.`] : []),
    '',
    row(HEADER),
    row(HEADER.map(() => '---')),
    ...measuredCases(stages).map((each) => row(caseRow(each))),
  ].join('\n');
}

/** Writes the result and the table; the file names written. */
export function takeReport(reportFile, root) {
  const report = readReport(reportFile);
  const results = join(root, 'bench', 'results');
  const page = join(root, 'docs', 'performance.md');
  const text = readFileSync(page, 'utf8');
  const [begin, end] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (begin < 0 || end < begin) throw new ResultsError(`${page} lacks the lines ${BEGIN} and ${END}`);
  mkdirSync(results, { recursive: true });
  const file = join(results, fileNameOf(report));
  writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`);
  const all = readdirSync(results)
    .filter((name) => /^gpu-.*\.json$/.test(name))
    .sort();
  const sections = all.map((name) => section(readReport(join(results, name))));
  writeFileSync(page, `${text.slice(0, begin)}${BEGIN}\n\n${sections.join('\n\n')}\n\n${text.slice(end)}`);
  return [file, page];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { root: { type: 'string', default: fileURLToPath(new URL('..', import.meta.url)) } },
    });
    if (positionals.length !== 1) throw new ResultsError('expected one report.json of a GPU bundle');
    for (const file of takeReport(positionals[0], values.root)) console.log(`wrote ${file}`);
  } catch (error) {
    if (!(error instanceof ResultsError) && error.code !== 'ERR_PARSE_ARGS_UNKNOWN_OPTION') throw error;
    console.error(`heddle: ${error.message}`);
    process.exitCode = 2;
  }
}
