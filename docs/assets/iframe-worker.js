// The search of this site runs in a worker, and browsers start none from file://. There an <iframe> takes its place.
if (location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    constructor(address) {
      super();
      this.onmessage = null;
      this.waiting = [];
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const inner = this.frame.contentWindow;
      inner.IFrameWorker = window.IFrameWorker;
      inner.__index = window.__index;
      // What a worker posts goes to the page, not to its own window.
      inner.postMessage = (data) => {
        const event = new MessageEvent("message", {data});
        this.dispatchEvent(event);
        this.onmessage?.(event);
      };
      inner.importScripts = (...addresses) =>
        addresses.reduce((before, each) => before.then(() => this.load(each)), Promise.resolve());
      this.load(address).then(() => {
        this.ready = true;
        for (const data of this.waiting) this.postMessage(data);
      });
    }
    load(address) {
      return new Promise((done, failed) => {
        const document = this.frame.contentDocument;
        const script = document.createElement("script");
        script.src = new URL(address, location.href).href;
        script.onload = () => done();
        script.onerror = () => failed(new Error(`${address} cannot be read`));
        document.body.append(script);
      });
    }
    postMessage(data) {
      if (!this.ready) this.waiting.push(data);
      else this.frame.contentWindow.dispatchEvent(new MessageEvent("message", {data}));
    }
    terminate() {
      this.frame.remove();
    }
  };
  window.Worker = window.IFrameWorker;
}
