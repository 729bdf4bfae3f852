import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { verify } from '../../src/conformance/verify.ts';
import { readKeyFolder } from '../../src/signing/keys/key-folder.ts';
import { fingerprint } from '../../src/trust/chain.ts';
import { demandNotRevoked, demandStrong } from '../../src/trust/policy.ts';
import { DEFAULT_POLICY_FILE } from '../../src/trust/policy-file.ts';
import { readPolicyFile } from '../../src/trust/written-policy.ts';
import { misused } from '../fixtures/failed.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { sealFixture } from '../fixtures/release.ts';
import { smallTree } from '../signing/trees.ts';
import { refused } from './judge.ts';

const DAY = 86_400_000;
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const tree = await smallTree(join(folder, 'tree'));
await sealFixture(tree, keys);
const { codesign } = await readKeyFolder(keys, NOW);
const RSA = { type: 'rsa', bits: 4096 };
const CONTENT = createHash('sha256').update('content').digest('hex');

let files = 0;
async function policy(text: string): Promise<string> {
  const path = join(folder, `policy-${++files}.toml`);
  await writeFile(path, text);
  return path;
}

it('an empty file is the policy that nobody wrote', async () => {
  const file = await readPolicyFile(await policy(''));
  // Which checks is left to the kind of early userspace.
  assert.deepEqual(file.publish, { marginDays: 90, maxSerialDays: 400, unverified: [] });
  assert.throws(() => demandStrong(file.at(NOW, NOW), 'x', 'sha1', RSA), refused('weak-algorithm'));
  const { at, ...rest } = file;
  const { at: defaultAt, ...defaults } = DEFAULT_POLICY_FILE;
  assert.deepEqual(defaults, rest);
  assert.deepEqual(defaultAt(NOW, NOW + DAY), at(NOW, NOW + DAY));
});

it('a cut-off date is judged as of the time that is asked about', async () => {
  const file = await readPolicyFile(await policy('[hash_cutoff]\nsha256 = 2030-01-01\n'));
  demandStrong(file.at(Date.UTC(2029, 11, 31), NOW), 'x', 'sha256', RSA);
  const act = () => demandStrong(file.at(Date.UTC(2030, 0, 1), NOW), 'x', 'sha256', RSA);
  assert.throws(act, refused('weak-algorithm', /not accepted since 2030-01-01/));
});

it('a pin lets one weak signature pass, for one content, until its day, and says so', async () => {
  const text = `[[pinned]]\nsha256 = "${CONTENT}"\nuntil = 2026-12-01\nreason = "release of 2012, compared by hand"\n`;
  const file = await readPolicyFile(await policy(text));
  const at = (clock: number) => file.at(NOW, clock);
  assert.match(demandStrong(at(NOW), 'x.sig', 'sha1', RSA, CONTENT) ?? '', /sha1.*compared by hand/);
  const other = createHash('sha256').update('other').digest('hex');
  assert.throws(() => demandStrong(at(NOW), 'x', 'sha1', RSA, other), refused('weak-algorithm'));
  assert.throws(() => demandStrong(at(NOW), 'x', 'sha1', RSA), refused('weak-algorithm'));
  // By the operator's clock, though the signature is judged as of an earlier day.
  const late = () => demandStrong(at(NOW + 40 * DAY), 'x', 'sha1', RSA, CONTENT);
  assert.throws(late, refused('weak-algorithm', /pin that let it pass ended on 2026-12-01/));
});

it('a soft revocation counts from its day, a hard one always', async () => {
  const id = 'a'.repeat(40);
  const entry = (kind: string) =>
    `[[revoked]]\nid = "${id}"\nkind = "${kind}"\nsince = 2026-06-01\nreason = "replaced"\n`;
  const before = Date.UTC(2026, 4, 31);
  const soft = await readPolicyFile(await policy(entry('soft')));
  demandNotRevoked(soft.at(before, NOW), 'x', id);
  demandNotRevoked(soft.at(NOW, NOW), 'x', 'b'.repeat(40));
  assert.throws(() => demandNotRevoked(soft.at(NOW, NOW), 'x', id), refused('revoked'));
  const hard = await readPolicyFile(await policy(entry('hard')));
  assert.throws(() => demandNotRevoked(hard.at(before, NOW), 'x', id), refused('revoked'));
});

it('verify strikes off a certificate that the policy revoked', async () => {
  const id = fingerprint(codesign.certificate);
  const text = `[[revoked]]\nid = "${id}"\nkind = "hard"\nsince = 2026-06-01\nreason = "key lost"\n`;
  const verdict = await verify({ tree, anchors: keys, now: NOW, policy: await policy(text) });
  assert.equal(verdict.refusal?.code, 'revoked');
  assert.match(verdict.refusal?.message ?? '', /key lost/);
});

it('verify asks for as many signers as the policy does', async () => {
  const path = await policy('openpgp_threshold = 2\n');
  const verdict = await verify({ tree, anchors: keys, now: NOW, policy: path });
  assert.match(verdict.refusal?.message ?? '', /signed by 1 of the 2 keys/);
});

for (const [what, text, fact] of [
  ['what is no TOML', 'hash_cutoff = [', /, line 1: it is not TOML from column \d+ on\.$/],
  ['a misspelt safeguard', 'openpgp_treshold = 2\n', /openpgp_treshold/],
  ['a threshold of none', 'openpgp_threshold = 0\n', /openpgp_threshold/],
  ['a time that is text', '[hash_cutoff]\nsha1 = "soon"\n', /hash_cutoff\.sha1: write a date/],
  ['a pin without an end', `[[pinned]]\nsha256 = "${CONTENT}"\nreason = "x"\n`, /pinned\.0\.until/],
  [
    'a reason of two lines',
    `[[pinned]]\nsha256 = "${CONTENT}"\nuntil = 2027-01-01\nreason = "a\\nb"\n`,
    /reason/,
  ],
] as const) {
  it(`refuses ${what}`, async () => {
    await assert.rejects(readPolicyFile(await policy(text)), misused(fact));
  });
}
