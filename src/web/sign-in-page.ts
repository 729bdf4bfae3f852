import { type AssetPaths, renderDocument } from './frame.ts';
import { html } from './html.ts';

export interface SignInFacts {
  readonly assets: AssetPaths;
  /** The path that takes the form. */
  readonly action: string;
  /** False: the page came in the clear, and no token may be typed into it. */
  readonly safe: boolean;
}

/** Where somebody shows a token to a browser. */
export function renderSignIn({ assets, action, safe }: SignInFacts): string {
  const form = html`<form class="sign-in" method="post" action="${action}">
<label>Token <input type="password" name="token" autocomplete="off" required autofocus></label>
<button>Sign in</button>
</form>
<p class="dim">A token is made on the server: <code>bootseal token add NAME --scope read --state DIR</code>.</p>`;
  const warning = html`<p class="warn-ink">This page came in the clear, and whoever is between could read a token. Open it by <code>https</code>, or on the
server itself: <code>docs/api-access.md</code> tells how to give it a certificate.</p>`;
  return renderDocument({
    ...{ assets, now: 0, event: '', viewer: { name: '', mayArm: false } },
    ...{ title: 'Sign in', current: '', follows: 'none' },
    body: html`<section class="card narrow" aria-labelledby="h-sign-in"><h1 id="h-sign-in">Sign in</h1>
${safe ? form : warning}</section>`,
  });
}
