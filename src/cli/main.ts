#!/usr/bin/env node
import { classify } from './classify.js';
import { main } from './commandLine.js';
import { doctor } from './doctor.js';
import { embed } from './embed.js';
import { evaluate } from './evaluate.js';
import { generate } from './generate.js';
import { merge } from './merge.js';
import { plan } from './plan.js';
import { prepare } from './prepare.js';
import { profile } from './profile.js';
import { tokenizer } from './tokenizer.js';
import { train } from './train.js';
import { translate } from './translate.js';
import { verify } from './verify.js';

process.exitCode = await main(process.argv.slice(2), [
  train,
  evaluate,
  classify,
  generate,
  translate,
  embed,
  merge,
  prepare,
  tokenizer,
  plan,
  profile,
  verify,
  doctor,
]);
