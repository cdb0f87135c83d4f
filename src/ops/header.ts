import { createHash } from 'node:crypto';
import { type AttributeType, kernelOps, type Op } from '../graph/op.js';
import { activationKinds, clipModes, epilogues, scalars, unaryKinds } from './index.js';

const enumerations: readonly [name: string, prefix: string, names: readonly string[]][] = [
  ['ActivationKind', 'ACTIVATION', activationKinds],
  ['UnaryKind', 'UNARY', unaryKinds],
  ['Epilogue', 'EPILOGUE', epilogues],
  ['ClipMode', 'CLIP', clipModes],
  ['Scalar', 'SCALAR', scalars],
];

const snake = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const pascal = (name: string) =>
  name.replace(/(^|_)([a-z])/g, (_, _line, letter: string) => letter.toUpperCase());

function nativeType(type: AttributeType): string {
  if (typeof type === 'string') return type === 'f32' ? 'float' : 'int32_t';
  const found = enumerations.find(([, , names]) => names === type);
  if (!found) throw new Error(`an attribute's list of names is missing from the enumerations: ${type}`);
  return found[0];
}

function attributeStruct(op: Op): string {
  const fields = Object.entries(op.attributes ?? {}).map(([name, type]) => `${nativeType(type)} ${name};`);
  return `struct ${pascal(op.name)}Attributes { ${fields.join(' ')} };`;
}

const operandWords = (operands: Readonly<Record<string, string>> = {}) => Object.values(operands).join(';');
const writesMask = (op: Op) =>
  op.inputSpecs.reduce((mask, { name }, index) => mask | (op.writes?.includes(name) ? 1 << index : 0), 0);

function body(): string {
  const ops = kernelOps();
  const lines = [
    ...enumerations.map(([name, prefix, names]) => {
      const members = names.map((member) => `${prefix}_${snake(member).toUpperCase()}`);
      return `enum ${name} : int32_t { ${members.join(', ')} };`;
    }),
    `constexpr int SCALAR_COUNT = ${scalars.length};`,
    '',
    '// Attributes of each op, as they stand in a program.',
    ...ops.filter((op) => op.attributes).map(attributeStruct),
    '',
    '// name, operands (see src/graph/signature.ts), bytes of attributes, bit mask of the inputs written in place',
    '#define HEDDLE_OPS(X) \\',
    ...ops.map((op) => {
      const bytes = 4 * Object.keys(op.attributes ?? {}).length;
      const ins = operandWords(op.inputs);
      return `  X(${op.name}, "${ins}", "${operandWords(op.outputs)}", ${bytes}, ${writesMask(op)}) \\`;
    }),
    '',
    '// name, types of the attributes (a number: so many names), and for each output the inputs whose memory it may take',
    '#define HEDDLE_OP_CHECKS(X) \\',
    ...ops.map((op) => `  X(${op.name}, "${attributeWords(op)}", "${reuseMasks(op).join(' ')}") \\`),
    '',
    `constexpr int OP_COUNT = ${ops.length};`,
  ];
  return lines.join('\n');
}

/** How native/program.cc checks an attribute: by type, or by the number of names of an enumeration. */
const attributeWords = (op: Op) =>
  Object.values(op.attributes ?? {})
    .map((type) => (typeof type === 'string' ? type : String(type.length)))
    .join(' ');
/** For each output the bit mask of the inputs whose memory it may take. */
const reuseMasks = (op: Op) =>
  op.outputSpecs.map((output) =>
    op.inputSpecs.reduce(
      (mask, { name }, index) => mask | (op.reuse?.[output.name]?.includes(name) ? 1 << index : 0),
      0,
    ),
  );

const digest = (text: string) => createHash('sha256').update(text).digest().readBigUInt64LE();

/** A number that changes with any op's name, order, operands or attributes; programs carry it. */
export const opsHash = (): bigint => digest(body());

/** The text of native/ops.h. */
export function opsHeader(): string {
  const text = body();
  return `// GENERATED from src/ops by \`npm run ops\`. Do not edit.
#pragma once
#include "kernel.h"

namespace heddle {

constexpr uint64_t OPS_HASH = 0x${digest(text).toString(16)}ull;

${text}

}  // namespace heddle
`;
}
