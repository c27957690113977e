/** A list that draws only what is seen. */

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";

interface Props<T> {
  items: readonly T[];
  rowHeight: number;
  row: (item: T, index: number) => ComponentChildren;
  /** The row to keep in sight. */
  current?: number;
  label: string;
  /** Rows of height to take; all there is by default. */
  rows?: number;
  role?: "listbox" | "list";
}

const BEYOND = 6;

export function Virtual<T>({ items, rowHeight, row, current = -1, label, rows, role = "listbox" }: Props<T>) {
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(600);

  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const watch = new ResizeObserver(() => setHeight(element.clientHeight));
    watch.observe(element);
    return () => watch.disconnect();
  }, []);

  useLayoutEffect(() => {
    const element = box.current;
    if (!element || current < 0) return;
    const place = current * rowHeight;
    if (place < element.scrollTop) element.scrollTop = place;
    else if (place + rowHeight > element.scrollTop + element.clientHeight) element.scrollTop = place + rowHeight - element.clientHeight;
  }, [current, rowHeight]);

  const first = Math.max(0, Math.floor(top / rowHeight) - BEYOND);
  const last = Math.min(items.length, Math.ceil((top + height) / rowHeight) + BEYOND);
  return (
    <div
      class="virtual"
      ref={box}
      role={role}
      aria-label={label}
      style={rows === undefined ? undefined : { height: `${Math.min(rows, items.length) * rowHeight}px` }}
      onScroll={(event) => setTop(event.currentTarget.scrollTop)}
    >
      <div style={{ height: `${items.length * rowHeight}px`, position: "relative" }}>
        <div style={{ position: "absolute", insetInline: 0, top: `${first * rowHeight}px` }}>
          {items.slice(first, last).map((item, index) => row(item, first + index))}
        </div>
      </div>
    </div>
  );
}
