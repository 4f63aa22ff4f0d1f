"""The conversation that a model step answers, brought up to its agent and event, and to the room that the model has."""
