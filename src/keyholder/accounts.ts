import { execFile } from 'node:child_process';
import { codeOf, IoError, inWords } from '../errors/io.ts';
import { UsageError } from '../errors/usage.ts';

/** The number of an account or a group that an operator named, by number or by name. @throws UsageError, IoError */
export function uidOf(user: string): Promise<number> {
  return numberOf('passwd', 'user', user);
}

export function gidOf(group: string): Promise<number> {
  return numberOf('group', 'group', group);
}

/** Accounts may come from a directory service, which glibc's own `getent` asks and Node does not. */
async function numberOf(database: string, what: string, name: string): Promise<number> {
  const unknown = () => new UsageError(`There is no ${what} ${JSON.stringify(name)} on this machine.`);
  if (/^(0|[1-9][0-9]{0,9})$/.test(name) && Number(name) < 0xffffffff) return Number(name);
  if (!/^[A-Za-z_][A-Za-z0-9_.@-]{0,63}\$?$/.test(name)) throw unknown();
  const line = await new Promise<string>((done, reject) => {
    execFile('getent', [database, name], { cwd: '/', timeout: 30_000 }, (error, stdout) => {
      if (!error) done(stdout);
      else if (error.code === 2) reject(unknown());
      else {
        const why = codeOf(error) === 'ENOENT' ? 'there is no "getent"; write its number' : inWords(error);
        reject(new IoError(`The ${what} ${name} cannot be looked up: ${why}.`, 'getent', codeOf(error)));
      }
    });
  });
  const [, number] = /^[^:\n]*:[^:\n]*:([0-9]{1,10})[:\n]/.exec(line) ?? [];
  if (number === undefined) throw unknown();
  return Number(number);
}
