% if field.help:
  <p class="help" id="{{field.id}}-help">{{field.help}}</p>
% end
% if field.error:
  <p class="error" id="{{field.id}}-error">{{field.error}}</p>
% end
