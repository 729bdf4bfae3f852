/** What the page shows of the release that is being served. */
export interface PageFacts {
  readonly release: string;
  /** ISO 8601, whole seconds. */
  readonly issued: string;
  readonly bestBefore: string;
  /** Verified under the operator's anchors, or only consistent in itself. */
  readonly anchored: boolean;
  /** Why no machine starts it any more; undefined while they do. */
  readonly ended: string | undefined;
  /** What an operator should know, one sentence each. */
  readonly warnings: readonly string[];
  readonly unverifiedLoadersAllowed: boolean;
  /** `http://10.0.0.1:8080` */
  readonly base: string;
  readonly files: readonly {
    readonly path: string;
    readonly role: string;
    readonly size: number;
    readonly sha256: string;
  }[];
  /** What a machine fetches or runs, and who verifies it there. */
  readonly machine: readonly {
    readonly what: string;
    readonly by: string;
    readonly how: string;
  }[];
}

const STYLE = `
:root{color-scheme:light dark;--ink:#17202a;--dim:#5d6d7e;--line:#d5dbe1;--good:#1d7a46;--bad:#b9770e;--paper:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#e5e9ee;--dim:#9aa7b4;--line:#33404d;--good:#58d68d;--bad:#f5b041;--paper:#10161c}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:60rem;margin:3rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin:0}.dim{color:var(--dim)}.good{color:var(--good)}.bad{color:var(--bad)}
.badge{display:inline-block;border:1px solid;border-radius:1rem;padding:.1rem .7rem;font-size:.9rem;margin:.8rem .4rem .8rem 0}
table{border-collapse:collapse;width:100%;margin:1rem 0}td,th{text-align:left;padding:.4rem .8rem .4rem 0;border-bottom:1px solid var(--line);vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums}code{font:.85rem ui-monospace,monospace;overflow-wrap:anywhere}
`;

/** The server's page: what is served, under whose word, and how a machine gets it. Plain HTML, no script. */
export function renderPage(facts: PageFacts): string {
  const badge = (good: boolean, text: string) =>
    `<span class="badge ${good ? 'good' : 'bad'}">${text}</span>`;
  const rows = facts.files
    .map(
      ({ path, role, size, sha256 }) =>
        `<tr><td>${escapeHtml(role)}</td><td><a href="/releases/${escapeHtml(facts.release)}/${escapeHtml(path)}"><code>${escapeHtml(path)}</code></a></td>` +
        `<td class="n">${size.toLocaleString('en')}</td><td><code>${sha256.slice(0, 16)}…</code></td></tr>`,
    )
    .join('\n');
  const machine = facts.machine
    .map(
      ({ what, by, how }) =>
        `<tr><td><code>${escapeHtml(what)}</code></td><td class="${by === 'nobody' ? 'bad' : 'good'}">${escapeHtml(by)}</td><td>${escapeHtml(how)}</td></tr>`,
    )
    .join('\n');
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escapeHtml(facts.release)} · Bootseal</title><style>${STYLE}</style>
<h1>${escapeHtml(facts.release)}</h1>
<div class="dim">sealed ${escapeHtml(facts.issued)} · best before ${escapeHtml(facts.bestBefore)}</div>
${facts.ended === undefined ? badge(true, 'machines boot it') : badge(false, `new boots have ended: ${escapeHtml(facts.ended)}`)}
${badge(facts.anchored, facts.anchored ? 'verified under the site’s anchors' : 'unanchored: seals agree, nobody vouches for them')}
${badge(!facts.unverifiedLoadersAllowed, facts.unverifiedLoadersAllowed ? 'UNVERIFIED loaders are allowed' : 'unverified loaders are refused')}
${facts.warnings.map((warning) => `<p class="bad">${escapeHtml(warning)}</p>`).join('\n')}
<table><thead><tr><th>role</th><th>file</th><th>bytes</th><th>sha256</th></tr></thead><tbody>
${rows}
</tbody></table>
<table><thead><tr><th>on the machine</th><th>verified by</th><th>how</th></tr></thead><tbody>
${machine}
</tbody></table>
<p>A loader built with this site’s anchors boots <a href="/boot.ipxe"><code>${escapeHtml(facts.base)}/boot.ipxe</code></a>;
GRUB network images read <a href="/grub.cfg"><code>/grub.cfg</code></a>.
Signed list: <a href="/releases/${escapeHtml(facts.release)}/release.manifest">release.manifest</a>.
Numbers: <a href="/metrics">metrics</a>.</p>
</html>
`;
}

function escapeHtml(text: string): string {
  const entities: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&#39;',
  };
  return text.replace(/[&<>"']/g, (character) => entities[character] ?? '');
}
