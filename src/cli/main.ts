#!/usr/bin/env node
import { watchOutput } from './output.ts';

const words = process.argv.slice(2);
watchOutput(words.includes('--json'));
// Scripts ask for the version of everything; that needs none of what the commands need.
if (words.length === 1 && (words[0] === '--version' || words[0] === '-V')) {
  const { ownVersion } = await import('./version.ts');
  process.stdout.write(`${ownVersion()}\n`);
} else {
  const { runWords } = await import('./run.ts');
  await runWords(words);
}
