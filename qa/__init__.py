"""Ask your own documents a question and get the answer in the documents' own words."""

from qa.chatbot import Answer, Chatbot, Citation, Conversation
from qa.reader import Reader, Reading

__all__ = ["Answer", "Chatbot", "Citation", "Conversation", "Reader", "Reading"]
