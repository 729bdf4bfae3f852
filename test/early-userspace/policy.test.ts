import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { decodePolicyFloor } from '../../src/formats/records/policy-floor.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { shellAnswers } from '../fixtures/shell-verifier.ts';

/** The floor's rules, written once for Node and once for busybox, asked about the same texts. */

const folder = await temporaryFolder();
const HEAD = 'bootseal-policy 1\nmin-serial 0\ngrace-days 0\n';
const LINES = [
  'issued 2026-10-01T00:00:00Z',
  'ntp time.example.org',
  'require manifest',
  'mode verity',
  'mode ram',
  'fallback ram',
  'fallback verity',
  'hand-over yes',
];

/** No line, each line, and each two and three in any order. */
function* texts(): Generator<string> {
  const lines = ['', ...LINES.map((line) => `${line}\n`)];
  for (const first of lines)
    for (const second of lines) for (const third of lines) yield HEAD + first + second + third;
}

function busyboxTakes(policies: readonly string[]): boolean[] {
  const machine = { records: {}, cmdline: 'quiet', arch: 'x86_64', now: 1793491200 };
  const machines = policies.map((text) => ({ ...machine, root: { 'bootseal/policy': Buffer.from(text) } }));
  return shellAnswers(folder, machines).map(({ lines: [line = ''] }) => {
    // Behind the policy comes the command line, which names no manifest here.
    if (line.startsWith('refused wrong-command-line ')) return true;
    assert.match(line, /^refused malformed \/bootseal\/policy is malformed: /);
    return false;
  });
}

function nodeTakes(text: string): boolean {
  try {
    decodePolicyFloor(Buffer.from(text));
    return true;
  } catch {
    return false;
  }
}

describe('a policy floor on the machine', () => {
  it('is taken by busybox where Node takes it, whatever its lines and their order', () => {
    const all = [...new Set(texts())];
    const expected = all.map(nodeTakes);
    assert.deepEqual(
      busyboxTakes(all).map((taken, index) => [all[index], taken]),
      expected.map((taken, index) => [all[index], taken]),
    );
    // Of three lines at most: with and without a date, a time server and the check; a mode, its fallback, handing over.
    assert.equal(expected.filter(Boolean).length, 42);
  });
});
