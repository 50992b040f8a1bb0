// Take a photo: with the camera in a dialog where the browser gives one, else with the phone's own camera app.

import { byId, h } from "./dom.js";

/** Ask for a photo and give it, a Blob, to `take`; what goes wrong is for `complain`. */
export async function takePhoto(take, complain) {
  if (!navigator.mediaDevices?.getUserMedia) {
    byId("camera-file").click(); // over plain http from another machine there is no camera
    return;
  }
  if (asking) return;
  asking = true;
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1280 } } });
  } catch (error) {
    const why = error.name === "NotAllowedError" ? "The camera was not allowed." : "No camera was found.";
    complain(new Error(`${why} Choose a file instead.`));
    return;
  } finally {
    asking = false;
  }
  show(stream, take);
}

let asking = false; // a second click asks no second time

function show(stream, take) {
  const video = h("video", { muted: true, playsInline: true, "aria-label": "What the camera sees" });
  video.srcObject = stream;
  video.addEventListener("loadeddata", () => video.setAttribute("data-ready", ""));
  const dialog = h(
    "dialog",
    { class: "camera", "aria-label": "Take a photo", onclose: close },
    video,
    h(
      "div",
      { class: "row" },
      h("button", { type: "button", class: "primary", onclick: snap }, "Take the photo"),
      h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  video.play();

  function close() {
    for (const track of stream.getTracks()) track.stop();
    dialog.remove();
  }

  function snap() {
    if (!video.videoWidth) return; // not a frame yet
    const canvas = h("canvas", { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob(
      (blob) => {
        dialog.close();
        take(new File([blob], "photo.jpg", { type: "image/jpeg" }));
      },
      "image/jpeg",
      0.9,
    );
  }
}
