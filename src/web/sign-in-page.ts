/** What the page of signing in may load and send: nothing but its own form, to this server. */
export const SIGN_IN_POLICY =
  "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

const STYLE = `
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:3rem auto;padding:0 1rem}
h1{font-size:1.6rem}label{display:block;margin:1rem 0}input{font:inherit;width:100%;box-sizing:border-box;padding:.4rem}
button{font:inherit;padding:.4rem 1.2rem}
`;

/**
 * Where somebody shows a token to a browser. Plain HTML, no script.
 *
 * @param action the path that takes the form. @param safe false: the page came in the clear, and no token may be typed
 *   into it.
 */
export function renderSignIn({ action, safe }: { readonly action: string; readonly safe: boolean }): string {
  const form = `<form method="post" action="${action}">
<label>Token <input type="password" name="token" autocomplete="off" required autofocus></label>
<button>Sign in</button>
</form>
<p>A token is made on the server: <code>bootseal token add NAME --scope read --state DIR</code>.</p>`;
  const warning = `<p>This page came in the clear, and whoever is between could read a token. Open it by <code>https</code>, or on the
server itself: <code>docs/api-access.md</code> tells how to give it a certificate.</p>`;
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Sign in · Bootseal</title><style>${STYLE}</style>
<h1>Sign in</h1>
${safe ? form : warning}
</html>
`;
}
