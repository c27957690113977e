/** Small things that several panels use. */

import { useState, useRef, useEffect } from "preact/hooks";
import type { ComponentChildren } from "preact";

const WORDS: Record<string, string> = {
  running: "running", finished: "finished", failed: "failed", cancelled: "cancelled", terminated: "terminated",
  waiting: "waiting", unrouted: "taken by nobody",
};

export function StatusDot({ status }: { status: string }) {
  return <span class={`dot ${status}`} role="img" aria-label={WORDS[status] ?? status} title={WORDS[status] ?? status} />;
}

export function StatusBadge({ status }: { status: string }) {
  return <span class={`badge status ${status}`}>{WORDS[status] ?? status}</span>;
}

/** A part of the inspector that can be folded. */
export function Section({ title, aside, children, open = true }: { title: ComponentChildren; aside?: ComponentChildren; children: ComponentChildren; open?: boolean }) {
  return (
    <details class="section" open={open}>
      <summary><h3>{title}</h3>{aside !== undefined && <span class="muted push">{aside}</span>}</summary>
      <div class="section-body">{children}</div>
    </details>
  );
}

/** Copies a text; without a clipboard, it shows the text selected for the person to copy. */
export function CopyButton({ label, text, testId }: { label: string; text: () => string; testId?: string }) {
  const [state, setState] = useState<"" | "done" | string>("");
  const timer = useRef<number>(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = () => {
    const copied = text();
    const done = () => {
      setState("done");
      timer.current = window.setTimeout(() => setState(""), 1500);
    };
    navigator.clipboard?.writeText(copied).then(done, () => setState(copied)) ?? setState(copied);
  };
  return (
    <>
      <button type="button" class="quiet" data-testid={testId} onClick={copy}>{state === "done" ? "copied" : label}</button>
      {state !== "" && state !== "done" && (
        <textarea class="copy-text" readOnly rows={8} aria-label="Text to copy" ref={(element) => { element?.select(); }}>{state}</textarea>
      )}
    </>
  );
}
