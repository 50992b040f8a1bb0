"""FastAPI as tutorials write it: one picture a request, classified where it is received."""

from classifier import Answer, Classifier
from fastapi import FastAPI, UploadFile

app = FastAPI()
classifier = Classifier()


@app.post("/predict")
async def predict(file: UploadFile) -> Answer:
    """Classify an uploaded picture."""
    picture = classifier.decode(await file.read())
    return classifier.classify([picture])[0]
