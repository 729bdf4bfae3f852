// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is how iPXE and GRUB write a setting
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Malformed } from '../../../src/errors/malformed.ts';
import { grubKernelLines, ipxeKernelLines } from '../../../src/formats/script/kernel-lines.ts';

const ipxe = (...lines: string[]) => ipxeKernelLines(Buffer.from(`#!ipxe\n${lines.join('\n')}\n`));
const grub = (...lines: string[]) => grubKernelLines(Buffer.from(`${lines.join('\n')}\n`));

describe('the command lines of an iPXE script', () => {
  const vectors: readonly [string, string[], string[][] | undefined][] = [
    ['are the words of kernel', ['kernel http://h/k a b=${c}'], [['a', 'b=${c}']]],
    ['begin behind the options', ['kernel --name a=1 --timeout 5 --quiet http://h/k a'], [['a']]],
    ['begin behind options with their argument inside', ['kernel --name=a=1 http://h/k a'], [['a']]],
    ['end with the command', ['kernel http://h/k a || kernel http://h/l b # c'], [['a'], ['b']]],
    ['may begin with a dash', ['kernel http://h/k --name a'], [['--name', 'a']]],
    ['are those of imgargs', ['kernel http://h/k', 'imgargs k a'], [['a']]],
    ['are those of imgargs by name', ['kernel --name x http://h/k', 'imgargs x a'], [['a']]],
    ['are empty after imgargs without words', ['kernel http://h/k a', 'imgargs k'], [['a'], []]],
    ['are empty for a kernel that gets none', ['kernel http://h/k a', 'kernel http://h/l'], [['a'], []]],
    ['are empty where imgargs means another', ['kernel http://h/k', 'imgargs l a'], [['a'], []]],
    [
      'are those of whatever selects or executes',
      ['imgselect k a', 'imgload k b', 'imgexec k c', 'boot k d', 'chain k e'],
      [['a'], ['b'], ['c'], ['d'], ['e']],
    ],
    ['are none of a selection without words', ['imgselect k', 'boot', 'chain next.ipxe'], []],
    [
      'are none of an initrd',
      ['initrd --name a http://h/i b', 'imgfetch http://h/i b', 'module http://h/i b'],
      [],
    ],
    ['are none of a comment, a message, a label', ['# kernel k a', 'echo kernel k a', ':kernel k a'], []],
    ['are unknown behind a short option', ['kernel -n x http://h/k a'], undefined],
    ['are unknown behind an unknown option', ['kernel --nam x http://h/k a'], undefined],
    ['are unknown behind a setting that could be an option', ['kernel --${x} http://h/k a'], undefined],
  ];
  for (const [name, lines, expected] of vectors) it(name, () => assert.deepEqual(ipxe(...lines), expected));

  it('are not looked for in what is no script', () => {
    assert.throws(() => ipxeKernelLines(Buffer.from('kernel k a\n')), Malformed);
  });
});

describe('the command lines of a GRUB configuration', () => {
  const vectors: readonly [string, string[], string[][] | undefined][] = [
    ['are the words of linux', ['linux /k a $b "${c}"'], [['a', '$b', '${c}']]],
    [
      'are those of the first module of a hypervisor',
      ['multiboot2 /x com1', 'module2 --nounzip /k a b', 'module2 /i c', 'module2 /j'],
      [['a', 'b']],
    ],
    [
      'are empty for a hypervisor without a module',
      ['multiboot2 /x a', 'multiboot2 /y', 'module2 /k b'],
      [[], ['b']],
    ],
    ['are none of a module without a hypervisor', ['module2 /k a'], []],
    ['lose their quotes', [`linux "(http,h)/k" 'a'"b" c\\ d "e\\$\\"\\x" ''`], [['ab', 'c d', 'e$"\\x', '']]],
    [
      'end with the command',
      ['linux /k a; linux /l b && linux /m c|linux /n d'],
      [['a'], ['b'], ['c'], ['d']],
    ],
    ['go on behind a backslash', ['linux /k a \\', 'b'], [['a', 'b']]],
    [
      'stand behind words of the language',
      ['if linux /k a; then linux /l b; else linux /m c; fi'],
      [['a'], ['b'], ['c']],
    ],
    ['stand in braces', ['function f { linux /k a }', 'menuentry "m" {linux /l b}'], [['a'], ['b']]],
    ['stand behind a negation', ['while ! linux /k a; do linux16 /l b; done'], [['a'], ['b']]],
    ['are empty where there are none', ['linux /k'], [[]]],
    ['are none of a comment', ['# linux /k a', 'linux /k b # c', 'linux /k d#e'], [['b'], ['d#e']]],
    [
      'are none of a message, a variable, another command',
      ['echo linux /k a', 'set x="linux /k a"', 'initrd /i a'],
      [],
    ],
    ['are none of a text over lines', ["echo '", 'linux /k a', "'"], []],
    ['are unknown where a variable is a command', ['$x /k a'], undefined],
    ['are unknown where a text is a command', ['eval "linux /k a"'], undefined],
  ];
  for (const [name, lines, expected] of vectors) it(name, () => assert.deepEqual(grub(...lines), expected));
});
