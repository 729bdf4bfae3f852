// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is how iPXE writes a setting
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { octets, play, type Scenario, SERVER } from './emulated.ts';

/** One script, and what its console must hold afterwards (whole), or what the outcome must be. */
interface Vector {
  readonly name: string;
  readonly script: string;
  readonly console?: string;
  readonly outcome?: { kind: string; status?: number; reason?: string };
  readonly scenario?: Scenario;
}

const FAIL = 'iseq a b';

const VECTORS: readonly Vector[] = [
  { name: 'echo joins its words by one blank', script: 'echo a   b\techo', console: 'a b echo\n' },
  { name: 'echo -n ends no line', script: 'echo -n a\necho b', console: 'ab\n' },
  { name: 'quotes are printed', script: 'echo "a  b"', console: '"a b"\n' },
  { name: 'UTF-8 passes through', script: 'echo \xc3\xa9', console: '\u00e9\n' },
  { name: '|| runs after a failure', script: `${FAIL} || echo b`, console: 'b\n' },
  { name: '|| does not run after a success', script: 'echo a || echo b', console: 'a\n' },
  { name: '&& runs after a success', script: 'echo a && echo b', console: 'a\nb\n' },
  { name: '&& does not run after a failure', script: `${FAIL} && echo b ||`, console: '' },
  { name: 'a && b || c goes to c from a', script: `${FAIL} && echo b || echo c`, console: 'c\n' },
  { name: 'a || b && c goes to c from a', script: 'echo a || echo b && echo c', console: 'a\nc\n' },
  { name: '; always goes on', script: `${FAIL} ; echo b`, console: 'b\n' },
  { name: 'the last command of a line decides', script: `echo a ; ${FAIL}`, outcome: { kind: 'refused' } },
  { name: '|| alone at the end swallows the failure', script: `${FAIL} ||\necho on`, console: 'on\n' },
  {
    name: '|| and a comment at the end swallow it too',
    script: `${FAIL} || # goto refuse\necho on`,
    console: 'on\n',
  },
  {
    name: 'a failing line ends the script with its error',
    script: `${FAIL}\necho on`,
    console: '',
    outcome: { kind: 'refused', reason: 'Result too large' },
  },
  {
    name: 'an unknown command is told and fails',
    script: 'frobnicate || echo b',
    console: 'frobnicate: command not found\nb\n',
  },
  {
    name: 'an unknown command ends the script',
    script: 'frobnicate',
    outcome: { kind: 'refused', reason: 'Exec format error' },
  },
  {
    name: 'a command that expands to nothing is the command of no name',
    script: '${nothing} || echo b',
    console: ': command not found\nb\n',
  },
  { name: 'a command may come out of a setting', script: 'set c echo\n${c} hi', console: 'hi\n' },
  {
    name: 'a terminator that comes out of a setting is a word',
    script: 'echo a ${filename} echo b',
    scenario: { machine: { dhcp: { filename: '||' } } },
    console: 'a || echo b\n',
  },
  {
    name: 'a value with blanks is one word',
    script: 'set x a b\niseq ${x} ${x} && echo same',
    console: 'same\n',
  },
  { name: 'a command behind a label runs', script: ':label echo a', console: 'a\n' },
  { name: 'goto skips', script: 'goto x\necho a\n:x\necho b', console: 'b\n' },
  {
    name: 'goto goes back',
    script: ':a inc i\necho ${i}\niseq ${i} 3 || goto a',
    console: '1\n2\n3\n',
  },
  {
    name: 'goto finds the first label of a name',
    script: 'goto x\n:x echo 1\nexit\n:x echo 2',
    console: '1\n',
  },
  { name: 'goto ends its line', script: 'goto x ; echo a\n:x echo b', console: 'b\n' },
  {
    name: 'goto stops its own line and no other',
    script: 'goto x\n:x echo a ; echo b',
    console: 'a\nb\n',
  },
  {
    name: 'goto to no label fails in silence',
    script: 'goto nowhere || echo b',
    console: 'b\n',
  },
  { name: 'exit ends the script', script: 'exit\necho a', console: '', outcome: { kind: 'exit', status: 0 } },
  { name: 'exit ends its line', script: 'exit 0 ; echo a', console: '' },
  { name: 'exit has a status', script: 'exit 3', outcome: { kind: 'exit', status: 3 } },
  { name: 'exit 2^32 is 0', script: 'exit 4294967296', outcome: { kind: 'exit', status: 0 } },
  { name: 'exit 2^32 + 1 is 1', script: 'exit 4294967297', outcome: { kind: 'exit', status: 1 } },
  { name: 'exit reads octal', script: 'exit 010', outcome: { kind: 'exit', status: 8 } },
  {
    name: 'exit of a setting that is not there is 0',
    script: 'exit ${x}',
    outcome: { kind: 'exit', status: 0 },
  },
  { name: 'exit 0x is 0', script: 'exit 0x', outcome: { kind: 'exit', status: 0 } },
  {
    name: 'exit of no number does not end the script',
    script: 'exit 08 ||\necho on',
    console: '"08": invalid integer value\non\n',
  },
  {
    name: 'exit of two does not end the script',
    script: 'exit 1 2 ||\nclear x\nisset a && echo on',
    outcome: { kind: 'exit', status: 0 },
  },
  { name: 'the end of the script is an exit', script: '', outcome: { kind: 'exit', status: 0 } },
  {
    name: 'isset looks at the value',
    script: 'isset ${x} || echo no\nset x 1\nisset ${x} && echo yes',
    console: 'no\nyes\n',
  },
  { name: 'iseq compares text', script: 'iseq 1 01 || echo differ', console: 'differ\n' },
  { name: 'poweroff', script: 'poweroff\necho a', console: '', outcome: { kind: 'poweroff' } },
  { name: 'reboot', script: 'reboot --warm', outcome: { kind: 'reboot' } },
  { name: 'shell', script: 'echo a || shell\nshell', console: 'a\n', outcome: { kind: 'shell' } },
  {
    name: 'time runs a command',
    script: `time echo a\ntime ${FAIL} || echo b`,
    console: 'a\ntime: 0.0s\ntime: 0.0s\nb\n',
  },
  { name: 'sync succeeds', script: 'sync --timeout 5000 && echo a', console: 'a\n' },
  { name: 'cpuid knows long mode', script: 'cpuid --ext 29 && echo 64', console: '64\n' },
  {
    name: 'cpuid is an x86 command',
    script: 'cpuid --ext 29 || echo b',
    scenario: { machine: { buildarch: 'arm64' } },
    console: 'cpuid: command not found\nb\n',
  },
  {
    name: 'a backslash at the end of the script is an error',
    script: 'echo a\necho b \\',
    console: 'a\n',
    outcome: { kind: 'refused', reason: 'Invalid argument' },
  },
];

for (const { name, script, console, outcome, scenario } of VECTORS) {
  test(name, async () => {
    const run = await play(script, scenario);
    if (console !== undefined)
      assert.ok(
        run.console.startsWith(console) && (outcome !== undefined || run.console === console),
        JSON.stringify(run.console),
      );
    if (outcome !== undefined) assert.deepEqual({ ...run.outcome, ...outcome }, run.outcome);
  });
}

test('an endless loop is stopped and refused', async () => {
  const run = await play(':a\ngoto a', { maxSteps: 100 });
  assert.equal(run.outcome.kind, 'refused');
  assert.equal(run.refusals[0]?.code, 'unsafe-script');
  assert.equal(run.events.filter(({ kind }) => kind === 'command').length, 100);
});

test('a script that chains itself for ever is stopped and refused', async () => {
  const url = `${SERVER}/a.ipxe`;
  const run = await play(`chain ${url}`, { files: { [url]: '#!ipxe\nchain a.ipxe || echo back' } });
  assert.equal(run.outcome.kind, 'refused');
  assert.equal(run.refusals[0]?.code, 'unsafe-script');
  assert.doesNotMatch(run.console, /back/);
});

test('a script that replaces itself for ever is stopped and refused', async () => {
  const url = `${SERVER}/a.ipxe`;
  const run = await play(`chain --replace ${url}`, {
    files: { [url]: '#!ipxe\nchain --replace --autofree a.ipxe' },
    maxSteps: 200,
  });
  assert.equal(run.outcome.kind, 'refused');
  assert.equal(run.refusals[0]?.code, 'unsafe-script');
});

test('a setting that expands to itself is stopped and refused', async () => {
  const run = await play('set a $\nset b ${a}{b}\necho ${b}');
  assert.equal(run.outcome.kind, 'exit');
  const hostile = await play('echo ${filename}', { machine: { dhcp: { filename: '${filename}' } } });
  assert.equal(hostile.outcome.kind, 'refused');
  assert.equal(hostile.refusals[0]?.code, 'unsafe-script');
});

test('sleep is an event and takes no time', async () => {
  const run = await play('sleep 3600\nsleep x || echo bad');
  assert.deepEqual(
    run.events.filter(({ kind }) => kind === 'sleep'),
    [{ kind: 'sleep', seconds: 3600 }],
  );
  assert.match(run.console, /"x": invalid integer value\nbad/);
});

test('the trace says which line ran what', async () => {
  const run = await play('set x 1\n\niseq ${x} 2 || goto end\n:end');
  assert.deepEqual(
    run.events.filter(({ kind }) => kind === 'command' || kind === 'failed'),
    [
      { kind: 'command', script: 'embedded.ipxe', line: 2, words: ['set', 'x', '1'] },
      { kind: 'command', script: 'embedded.ipxe', line: 4, words: ['iseq', '1', '2'] },
      { kind: 'failed', script: 'embedded.ipxe', line: 4, command: 'iseq', text: 'Result too large' },
      { kind: 'command', script: 'embedded.ipxe', line: 4, words: ['goto', 'end'] },
    ],
  );
});

test('a run can be aborted', async () => {
  const signal = AbortSignal.abort(new Error('enough'));
  await assert.rejects(play('echo a', { signal }), /enough/);
});

test('bytes that are no script are refused by name', async () => {
  const run = await play('', { script: { embedded: true, bytes: octets('') } });
  assert.equal(run.outcome.kind, 'refused');
  const nul = await play('', { script: { embedded: true, bytes: octets('#!ipxe\necho \0a\n') } });
  assert.equal(nul.refusals[0]?.code, 'malformed');
});

const USAGE: readonly Vector[] = [
  {
    name: 'an unknown option is a usage error',
    script: 'echo --frob x || echo b',
    console:
      'Unrecognised option "--frob"\nUsage:\n\n  echo [-n|--n] [...]\n\nSee https://ipxe.org/cmd/echo for further information\nb\n',
  },
  {
    name: 'an unknown short option is a usage error',
    script: 'exit -x',
    outcome: { kind: 'refused', reason: 'Unrecognised option' },
  },
  { name: 'options end at the first word', script: 'echo a -n', console: 'a -n\n' },
  { name: 'options end at --', script: 'echo -- -n', console: '-n\n' },
  {
    name: '--help is no success',
    script: 'imgtrust --help || echo b\nimgtrust --allow && echo still open',
    console:
      'Usage:\n\n  imgtrust [-a|--allow] [-p|--permanent]\n\nSee https://ipxe.org/cmd/imgtrust for further information\nb\nstill open\n',
  },
  { name: 'too few arguments', script: 'iseq a', outcome: { kind: 'refused', reason: 'Result too large' } },
  {
    name: 'too many arguments',
    script: 'isset a b',
    outcome: { kind: 'refused', reason: 'Result too large' },
  },
  {
    name: 'a missing argument of an option',
    script: 'prompt --key',
    outcome: { kind: 'refused', reason: 'Missing argument' },
  },
  {
    name: 'an option is no argument of an option',
    script: 'prompt --timeout --key a',
    outcome: { kind: 'refused', reason: 'Missing argument' },
  },
  {
    name: 'a flag takes no argument',
    script: 'imgtrust --permanent=1',
    outcome: { kind: 'refused', reason: 'Missing argument' },
  },
  {
    name: 'a timeout is a number',
    script: 'prompt --timeout=soon',
    outcome: { kind: 'refused', reason: 'Invalid integer value' },
  },
  {
    name: 'a timeout of 2^22 ms is none: it is multiplied in 32 bits',
    script: 'prompt --timeout=4194303 || echo late\nprompt --timeout=4194304',
    console: '\nlate\n\n',
    outcome: { kind: 'refused', reason: 'waits at the console: prompt' },
  },
  {
    name: 'short options may share a word',
    script: 'reboot -ws',
    outcome: { kind: 'reboot' },
  },
  {
    name: 'a short option may hold its argument',
    script: 'prompt -t1 || echo late',
    console: '\nlate\n',
  },
];

for (const { name, script, console, outcome } of USAGE) {
  test(`options: ${name}`, async () => {
    const run = await play(script);
    if (console !== undefined) assert.equal(run.console, console);
    if (outcome !== undefined) assert.deepEqual({ ...run.outcome, ...outcome }, run.outcome);
  });
}
