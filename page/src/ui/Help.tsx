import { KEYS } from "./keys";

export function Help({ close }: { close: () => void }) {
  return (
    <div class="help" role="dialog" aria-modal="true" aria-label="Keys" onClick={close}>
      <div class="help-box" onClick={(event) => event.stopPropagation()}>
        <div class="title-line"><h2>Keys</h2><button type="button" class="push" aria-label="Close" onClick={close}>×</button></div>
        <dl>{KEYS.map(([key, what]) => <div key={key}><dt>{key.split(" ").map((one) => <kbd key={one}>{one}</kbd>)}</dt><dd>{what}</dd></div>)}</dl>
        <p class="muted small">In the lanes: wheel to scroll, Ctrl+wheel to zoom, drag to move. A trace file dropped on this page is opened in it and goes nowhere.</p>
      </div>
    </div>
  );
}
