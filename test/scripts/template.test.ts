// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is how iPXE writes a setting
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { IoError } from '../../src/errors/io.ts';
import { Refusal } from '../../src/errors/refusal.ts';
import {
  Fragment,
  joinFragments,
  readTemplate,
  renderFragment,
  renderTemplate,
  SCRIPT_SETTINGS,
  type ValueKind,
} from '../../src/scripts/template.ts';

function refuses(run: () => unknown, message: RegExp): void {
  assert.throws(run, (error) => {
    assert.ok(error instanceof Refusal);
    assert.equal(error.code, 'unsafe-script');
    assert.match(error.message, message);
    return true;
  });
}

const render = (kind: ValueKind, text: string): string =>
  renderTemplate('t', 'x {{v}}\n', { v: { kind, text } });

describe('a template', () => {
  it('is filled, each placeholder as often as it stands there', () => {
    assert.equal(
      renderTemplate('t', '{{a}} {{b}} {{a}}\n', {
        a: { kind: 'hex', text: 'ff' },
        b: { kind: 'port', text: '8080' },
      }),
      'ff 8080 ff\n',
    );
  });

  it('refuses an unfilled, an unknown and a broken placeholder', () => {
    refuses(() => renderTemplate('t', '{{a}}\n', {}), /nothing fills \{\{a\}\}/);
    refuses(() => renderTemplate('t', '{{toString}}\n', {}), /nothing fills/);
    refuses(() => renderTemplate('t', 'a\n', { a: { kind: 'hex', text: 'ff' } }), /has no \{\{a\}\}/);
    refuses(() => renderTemplate('t', '{{a\n', {}), /broken/);
    refuses(() => renderTemplate('t', 'a}}\n', {}), /broken/);
  });

  it('refuses a result that is not plain lines', () => {
    refuses(() => renderTemplate('t', 'a', {}), /printable ASCII/);
    refuses(() => renderTemplate('t', 'a\r\n', {}), /printable ASCII/);
    refuses(() => renderTemplate('t', 'é\n', {}), /printable ASCII/);
    refuses(() => renderTemplate('t', '# comment \\\nimgfree\n', {}), /backslash/);
  });

  it('leaves the header of a fragment behind, and takes no other object for lines', () => {
    const fragment = renderFragment('f', '#\n# header\n\necho {{v}}\n', { v: { kind: 'hex', text: '0' } });
    assert.equal(
      renderTemplate('t', 'a\n{{f}}\nb\n', { f: joinFragments([fragment, fragment]) }),
      'a\necho 0\necho 0\nb\n',
    );
    assert.throws(() => new Fragment(Symbol('fragment'), 'shell'), TypeError);
  });
});

describe('a value', () => {
  const kinds: ValueKind[] = [
    'image',
    'path',
    'release',
    'signer',
    'hex',
    'host',
    'port',
    'base',
    'mac',
    'uuid',
    'label',
    'command-line',
  ];
  for (const kind of kinds) {
    it(`of kind ${kind} cannot carry a second line, command, word or setting`, () => {
      const fit: Record<ValueKind, string> = {
        image: 'vmlinuz',
        path: 'a/b',
        release: 'arch/1',
        signer: 'boot.site',
        hex: 'ff',
        host: 'a.example',
        port: '80',
        base: 'http://a.example:80/x',
        mac: '52:54:00:12:34:56',
        uuid: '11223344-5566-7788-99aa-bbccddeeff00',
        label: 'Debian 13 - stable',
        'command-line': 'quiet',
      };
      const text = fit[kind];
      assert.equal(render(kind, text), `x ${text}\n`);
      const bad = [
        '\n',
        '\r',
        '$',
        '${filename}',
        '`',
        '"',
        "'",
        '\\',
        '#',
        ';',
        '|',
        '&',
        '\0',
        'é',
        '{{a}}',
        '  ',
        '\t',
      ];
      for (const part of [...bad, ...(kind === 'command-line' ? [] : [' '])]) {
        refuses(() => render(kind, `${text}${part}`), /not fit/);
        refuses(() => render(kind, `${part}${text}`), /not fit/);
      }
      refuses(() => render(kind, kind === 'command-line' ? ' ' : ''), /not fit/);
    });
  }

  it('of kind path stays in the tree', () => {
    for (const path of ['/etc', '../x', 'a/../b', 'a//b', 'a/', '-a'])
      refuses(() => render('path', path), /not fit/);
  });

  it('of kind base or command-line may use the typed settings of scripts, no others', () => {
    const base = `http://${SCRIPT_SETTINGS.server}:${SCRIPT_SETTINGS.port}`;
    assert.equal(render('base', base), `x ${base}\n`);
    assert.equal(render('command-line', `a=${base}/ b`), `x a=${base}/ b\n`);
    refuses(() => render('base', 'http://${filename}'), /not fit/);
    refuses(() => render('base', 'http://${next-server:string}'), /not fit/);
    refuses(() => render('base', 'ftp://a'), /not fit/);
    refuses(() => render('base', 'http://a/'), /not fit/);
  });
});

describe('ipxe-scripts', () => {
  it('each says when it is used, by whom it is rendered and what it protects', () => {
    let folder = dirname(fileURLToPath(import.meta.url));
    while (!readdirSync(folder).includes('ipxe-scripts')) folder = dirname(folder);
    const names = readdirSync(join(folder, 'ipxe-scripts')).filter((name) => name.endsWith('.ipxe'));
    assert.ok(names.includes('boot.ipxe') && names.includes('embedded.ipxe'));
    for (const name of names) {
      const text = readTemplate(name);
      assert.match(text, new RegExp(`^(#!ipxe\\n)?#\\n# ${name.replace('.', '\\.')}: `), name);
      for (const part of ['When:', 'Rendered:', 'Protects:'])
        assert.ok(text.includes(`# ${part}`), `${name}: ${part}`);
      assert.match(text, /^[\x20-\x7e\n]*\n$/, name);
    }
  });

  it('each reason is known on BIOS and on UEFI, whose numbers end differently', () => {
    const reasons = new Map<string, Map<string, string>>();
    for (const [, number = '', platform = '', words = ''] of readTemplate('reason.ipxe').matchAll(
      /^iseq \$\{bootseal-errno\} 0x([0-9a-f]{5})([0-9a-f]{2}) && set bootseal-why (.+) \|\|$/gm,
    ))
      reasons.set(number, (reasons.get(number) ?? new Map()).set(platform, words));
    // x509.c: ended or not begun, no usable certificate; rsa.c: another signature; cms.c: not for code, another name.
    assert.deepEqual([...reasons.keys()].sort(), ['216e4', '216eb', '227e1', '22ae2', '22ae4']);
    for (const [number, words] of reasons) {
      assert.deepEqual([...words.keys()].sort(), ['3c', '8f'], number);
      assert.equal(new Set(words.values()).size, 1, number);
    }
  });

  it('a missing one is a fault of the package, and no verdict', () => {
    assert.throws(
      () => readTemplate('no-such.ipxe'),
      (error) => error instanceof IoError && /missing from the package/.test(error.message),
    );
  });
});
