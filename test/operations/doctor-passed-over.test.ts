import assert from 'node:assert/strict';
import { it } from 'node:test';
import { IoError } from '../../src/errors/io.ts';
import { Refusal } from '../../src/errors/refusal.ts';
import { UsageError } from '../../src/errors/usage.ts';
import { ofNobody, toldElsewhere } from '../../src/operations/doctor/passed-over.ts';

const system = (code: string) => Object.assign(new Error(code), { code });

it('passes over what another check tells of, and no fault of the program', () => {
  const told = [
    new Refusal('drifted', 'It is.'),
    new UsageError('No.'),
    new IoError('No.', '/x', 'EIO'),
    system('EMFILE'),
  ];
  for (const error of told) assert.equal(toldElsewhere(error), undefined);
  assert.throws(() => toldElsewhere(new TypeError('a fault')), TypeError);
});

it('a process that is gone, or another’s, holds nothing; one that could not be looked into is no such process', () => {
  for (const code of ['ENOENT', 'ESRCH', 'EACCES', 'EPERM']) assert.equal(ofNobody('')(system(code)), '');
  for (const code of ['EMFILE', 'EIO']) assert.throws(() => ofNobody('')(system(code)), { code });
});
